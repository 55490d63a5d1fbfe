import torch

from mmfusion.training import averaging


def test_single_process_keeps_gradients() -> None:
    """For two, see test_processes.py."""
    parameters = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    parameters[1].grad = torch.full((2,), 3.0)
    averaging.average_gradients(parameters)
    assert parameters[0].grad is None
    assert parameters[1].grad.tolist() == [3.0, 3.0]
    norm = torch.nn.BatchNorm1d(2)
    norm(torch.arange(4.0).view(2, 2))
    before = norm.running_mean.clone()
    averaging.align(norm)
    assert torch.equal(norm.running_mean, before)
