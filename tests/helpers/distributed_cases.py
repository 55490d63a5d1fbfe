"""What the tests of several processes compute, in one process or in each of several."""

import os
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

import mmfusion as mmf
from helpers.small import make_inputs, make_labels, make_spec, rows
from mmfusion.data.samplers import choose_batches
from mmfusion.losses import (
    CrossmodalAnchorLoss,
    GradNormWeighting,
    HierarchicalAnchorLoss,
    LossBank,
    MemoryPrototypes,
    MovingPrototypes,
    SampleAnchorLoss,
    UncertaintyWeighting,
    UnimodalAnchorLoss,
)
from mmfusion.losses.distributed import global_batch
from mmfusion.spec import Columns, DataSpec
from mmfusion.tokens import LossInputs
from mmfusion.training.phases import phases_of
from mmfusion.utils.process_group import gather_rows

N_CASES, N_CLASSES, DIM = 10, 3, 4


class Network(nn.Module):
    """Two modalities' embeddings by a linear layer each."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({name: nn.Linear(5, DIM) for name in ("a", "b")})
        self.bank: LossBank

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {name: layer(x[i]) for i, (name, layer) in enumerate(self.layers.items())}


def bank(kind: str) -> LossBank:
    terms: dict[str, Any] = {
        "sample": (0.7, SampleAnchorLoss(learn_temperature=True)),
        "unimodal": (1.3, UnimodalAnchorLoss()),
        "crossmodal": (0.4, CrossmodalAnchorLoss()),
    }
    options: dict[str, Any] = {}
    if kind == "hierarchical":
        terms = {"all": (1.0, HierarchicalAnchorLoss(reduction="published"))}
    elif kind == "moving":
        options["prototypes"] = MovingPrototypes(2, N_CLASSES, DIM, momentum=0.5)
    elif kind == "memory":
        options["prototypes"] = MemoryPrototypes(2, N_CLASSES, DIM, size=13)
    elif kind == "uncertainty":
        options["weighting"] = UncertaintyWeighting()
    elif kind == "gradnorm":
        options["weighting"] = GradNormWeighting(lr=0.1)
    return LossBank(N_CLASSES, terms, **options)


KINDS = ("anchors", "hierarchical", "moving", "memory", "uncertainty", "gradnorm")
MODELS = ("cfcml", "concat")


SAMPLERS = ("shuffled", "balanced", "weighted", "grouped")


class Numbers:
    """A dataset whose cases are their positions."""

    groups = tuple(str(i // 2) for i in range(45))
    ids = tuple(str(i) for i in range(45))
    spec = DataSpec({"table": Columns(("x",))}, n_classes=2)

    def labels(self, target: str) -> Tensor:
        return torch.arange(45) % N_CLASSES % 2

    def __len__(self) -> int:
        return 45

    def __getitem__(self, index: int) -> int:
        return index


def dealt(rank: int, processes: int) -> list[dict[str, list[list[int]]]]:
    """The batches that Accelerate gives this process, of each sampler over three epochs: whole ones, and pieces."""
    # What a launcher would have set; the processes have met already.
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes), LOCAL_WORLD_SIZE=str(processes))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
    return [_dealt(processes, split) for split in (False, True)]


def _dealt(processes: int, split: bool) -> dict[str, list[list[int]]]:
    accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(split_batches=split))
    assert accelerator.num_processes == processes
    found: dict[str, list[list[int]]] = {}
    for name in SAMPLERS:
        sampler = choose_batches(name, Numbers(), "label", batch_size=6, seed=5, processes=1 if split else processes)
        loader = accelerator.prepare_data_loader(
            DataLoader(Numbers(), batch_sampler=sampler, collate_fn=list), device_placement=False
        )
        for epoch in range(3):
            sampler.set_epoch(epoch)
            found[f"{name} {epoch}"] = list(loader)
    return found


def all_steps(rank: int, cases: list[list[int]]) -> dict[str, Tensor]:
    """:func:`steps` of every kind of bank: starting processes costs more than what they compute."""
    return {f"{kind}.{name}": value for kind in KINDS for name, value in steps(rank, cases, kind).items()}


def model_steps(rank: int, cases: list[list[int]]) -> dict[str, Tensor]:
    return {f"{name}.{key}": value for name in MODELS for key, value in model_step(rank, cases, name).items()}


def steps(rank: int, cases: list[list[int]], kind: str) -> dict[str, Tensor]:
    """Two steps of descent on this process's cases; the losses, gradients and everything remembered."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 2, N_CASES, 5, generator=g, dtype=torch.float64)
    labels = torch.arange(N_CASES) % N_CLASSES
    present = torch.rand(2, N_CASES, generator=g) < 0.8
    torch.manual_seed(0)
    network = Network().double()
    network.bank = bank(kind).double()
    model: nn.Module = DistributedDataParallel(network) if len(cases) > 1 else network
    mine = torch.tensor(cases[rank], dtype=torch.int64)
    found: dict[str, Tensor] = {}
    for step in range(2):
        network.zero_grad()
        there = present[:, mine]
        # Presence is told by the process that lacks something, and by no other.
        named = {} if bool(there.all()) else {"a": there[0], "b": there[1]}
        embeddings = model(x[step][:, mine])
        terms = network.bank(embeddings, labels[mine], named)
        torch.stack(list(terms.values())).sum().backward()
        found |= {f"{step}.loss.{name}": value.detach() for name, value in terms.items()}
        for name, parameter in network.named_parameters():
            found[f"{step}.grad.{name}"] = parameter.grad.clone()
            parameter.data -= 0.1 * parameter.grad
    return found | {f"state.{name}": value.clone() for name, value in network.state_dict().items()}


def model_step(rank: int, cases: list[list[int]], name: str) -> dict[str, Tensor]:
    """A training step of a registered model, batch statistics frozen and dropout 0, on this process's cases."""
    spec = make_spec(images=2, tables=1, n_classes=3)
    inputs, labels = make_inputs(spec, N_CASES), make_labels(spec, N_CASES)
    torch.manual_seed(0)
    network = mmf.create_model(name, spec, dropout=0.0).double()
    network.train()
    for part in network.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eval()
    mine = torch.tensor(cases[rank], dtype=torch.int64)
    own = rows(inputs, mine)
    own = {
        key: mmf.Table(value.numerical.double(), value.categorical) if isinstance(value, mmf.Table) else value.double()
        for key, value in own.items()
    }
    model: nn.Module = DistributedDataParallel(network) if len(cases) > 1 else network
    output = model(own)
    (phase,) = phases_of(network)
    targets = {key: value[mine] for key, value in labels.items()}
    terms = phase.loss(LossInputs(output.outputs, output.embeddings, targets, {}, output.aux))
    torch.stack(list(terms.values())).sum().backward()
    found = {f"loss.{key}": value.detach() for key, value in terms.items()}
    return found | {
        f"grad.{key}": parameter.grad for key, parameter in network.named_parameters() if parameter.grad is not None
    }


def all_gathers(rank: int, counts: list[list[int]]) -> list[dict[str, Any]]:
    return [gathers(rank, one) for one in counts]


def gathers(rank: int, counts: list[int]) -> dict[str, Any]:
    """What each process sees of rows of every dtype, and what comes back to its own."""
    start = sum(counts[:rank])
    x = torch.arange(start, start + counts[rank], dtype=torch.float32).requires_grad_()
    everything = gather_rows(x)
    (everything * torch.arange(1.0, len(everything) + 1) * (rank + 1)).sum().backward()
    numbers = gather_rows(x.detach().long())
    aux = {"map": torch.full((counts[rank], 2, 3), float(rank)), "scalar": torch.tensor(5.0)}
    present = {"a": x.detach() > 0} if rank == 0 else {}
    inputs = LossInputs({}, {"a": x[:, None], "b": x[:, None].half()}, {"label": x.detach().long()}, present, aux)
    wide = global_batch(inputs)
    return {
        "everything": everything.detach(),
        "grad": x.grad,
        "numbers": numbers,
        "a": wide.embeddings["a"].detach(),
        "b": wide.embeddings["b"].detach(),
        "label": wide.targets["label"],
        "present": {name: row.clone() for name, row in wide.present.items()},
        "aux": {name: wide.aux[name].clone() for name in wide.aux},
    }
