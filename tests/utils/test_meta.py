import pytest
import torch
from torch import Tensor, nn

from mmfusion.utils.meta import run_on_meta


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(16, 5))


def test_run_on_meta_gives_shapes() -> None:
    out = run_on_meta(network(), torch.empty(2, 3, 4, 4, device="meta"))
    assert out.shape == (2, 5)
    assert out.device.type == "meta"


def test_run_on_meta_leaves_module_unchanged() -> None:
    module = network()
    module[2].eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    modes = [part.training for part in module.modules()]
    state = torch.get_rng_state()
    run_on_meta(module, torch.empty(1, 3, 4, 4, device="meta"))
    assert [part.training for part in module.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(value.device.type == "cpu" for value in module.state_dict().values())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None and p.requires_grad for p in module.parameters())


def test_run_on_meta_leaves_module_unchanged_after_error() -> None:
    module = network()
    modes = [part.training for part in module.modules()]
    with pytest.raises(RuntimeError):
        run_on_meta(module, torch.empty(1, 3, 9, 9, device="meta"))
    assert [part.training for part in module.modules()] == modes
    assert all(value.device.type == "cpu" for value in module.state_dict().values())


class Two(nn.Module):
    def forward(self, a: Tensor, b: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: a + value for name, value in b.items()}


def test_run_on_meta_accepts_nested_arguments() -> None:
    a = torch.empty(2, 1, device="meta")
    out = run_on_meta(Two(), a, {"x": torch.empty(1, 3, device="meta")})
    assert out["x"].shape == (2, 3)


def test_run_on_meta_keeps_shared_modules_and_tensors() -> None:
    shared = nn.Linear(3, 3)
    module = nn.ModuleDict({"one": nn.Sequential(shared), "two": nn.Sequential(shared, nn.BatchNorm1d(3))})
    tied = nn.Linear(3, 3, bias=False)
    tied.weight = shared.weight
    whole = nn.Sequential(module["one"], module["two"], tied)
    assert run_on_meta(whole, torch.empty(2, 3, device="meta")).shape == (2, 3)
    assert {value.device.type for value in (*whole.parameters(), *whole.buffers())} == {"cpu"}
    assert tied.weight is shared.weight
