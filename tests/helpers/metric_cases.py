"""What the test of pytorch-metric-learning's losses in several processes computes, in one process or in each."""

import torch
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning import miners
from pytorch_metric_learning.utils.distributed import DistributedLossWrapper, DistributedMinerWrapper
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mmfusion.losses import LossBank
from mmfusion.losses.metric import MetricLoss

DIM = 4


class Network(nn.Module):
    def __init__(self, wrap: bool) -> None:
        super().__init__()

        def across(loss: nn.Module) -> nn.Module:
            return DistributedLossWrapper(loss) if wrap else loss

        self.layers = nn.ModuleDict({name: nn.Linear(5, DIM) for name in ("a", "b")})
        miner: nn.Module = miners.TripletMarginMiner(type_of_triplets="hard")
        terms = {
            "case": MetricLoss(loss=across(pml.NTXentLoss()), on=("a", "b"), positives="case"),
            "proxies": MetricLoss(loss=across(pml.ProxyAnchorLoss(3, 2 * DIM))),
            "memory": MetricLoss(loss=across(pml.CrossBatchMemory(pml.SupConLoss(), DIM, memory_size=16)), on="b"),
            "mined": MetricLoss(
                loss=across(pml.TripletMarginLoss()), on="all", miner=DistributedMinerWrapper(miner) if wrap else miner
            ),
        }
        assert all(term._gathers is wrap for term in terms.values())
        self.bank = LossBank(3, {name: (1.0, term) for name, term in terms.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {name: layer(x[i]) for i, (name, layer) in enumerate(self.layers.items())}


def train(rank: int, parts: list[list[int]]) -> dict[str, dict[str, Tensor]]:
    """With PML's wrapper and without: starting processes costs more than what they compute."""
    return {f"wrap={wrap}": steps(rank, parts, wrap) for wrap in (True, False)}


def steps(rank: int, parts: list[list[int]], wrap: bool) -> dict[str, Tensor]:
    """Two steps on this process's part of the batch: losses, gradients after averaging, memories."""
    x, labels = (
        torch.randn(2, 2, 10, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64),
        torch.arange(10) % 3,
    )
    there = torch.rand(2, 10, generator=torch.Generator().manual_seed(5)) < 0.7
    torch.manual_seed(0)
    network = Network(wrap).double()
    model: nn.Module = DistributedDataParallel(network) if len(parts) > 1 else network
    mine = torch.tensor(parts[rank])
    found: dict[str, Tensor] = {}
    for step in range(2):
        network.zero_grad()
        here = {name: there[i, mine] for i, name in enumerate(("a", "b"))}
        values = network.bank(model(x[step][:, mine]), labels[mine], here)
        torch.stack(list(values.values())).sum().backward()
        found |= {f"{step}.loss.{name}": value.detach() for name, value in values.items()}
        for name, parameter in network.named_parameters():
            found[f"{step}.grad.{name}"] = parameter.grad.clone()
            parameter.data -= 0.1 * parameter.grad
    state = network.bank.state_dict()
    return found | {f"state.{name}": state[name].clone() for name in state if "memory" in name}
