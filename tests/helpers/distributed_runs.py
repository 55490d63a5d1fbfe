"""Whole runs for the tests of several processes, each process calling these; made exact, so that they can be compared.

In float64, with batch statistics frozen, without dropout and augmentation, and nothing drawn: what two processes with
half of every batch find is then what one finds with the whole, to rounding.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from mmfusion.data.cases import Cases
from mmfusion.experiments import run
from mmfusion.experiments.settings import Settings, resolve
from mmfusion.losses.matching import hard_negatives
from mmfusion.models.pretraining import tip_pretraining
from mmfusion.tokens import Table
from mmfusion.training import averaging, checkpoints, inference, processes
from mmfusion.training.loop import Training

RUNS: dict[str, dict[str, Any]] = {
    "concat": {},
    "cfcml": {"learn_temperature": True},
    "tip": {"pretrain": True, "mask_rate": 1.0, "n_heads": 2, "table_depth": 1, "joint_depth": 1},
    "mmcl": {"corruption_rate": 0.0},
}
"""Model options: of the two that pretrain, such that nothing is drawn."""

ABSENT = {"data": {"missing_images": 0.8, "missing": 0.2}, "model": {"shared_encoder": False}}
"""So few images that some shares of a batch have none, and each has an encoder to itself."""


def cached(folder: Path) -> dict[str, Any]:
    """A frozen encoder whose maps are kept in a folder."""
    return {"run": {"cache": str(folder / "cache")}, "train": {"freeze": "all", "precompute": True}}


class Killed(BaseException):
    """What ends a run between two epochs, as a kill would."""


def settings(model: str, out: Path, changes: dict[str, Any] | None = None, **options: Any) -> Settings:
    """46 cases in batches of 12: the last has 10, and shares of 6 and 5."""
    base = {
        "run": {"out": str(out), "device": "cpu", "cache_gb": 0.0},
        "train": {
            "epochs": 2,
            "phase_epochs": {"pretrain": 1} if model in ("tip", "mmcl") else {},
            "batch_size": 12,
            "eval_batch_size": 8,
            "sampler": "balanced" if model == "cfcml" else "shuffled",
            "augment": {"flips": False},
            "resamples": 20,
        },
        "data": {"size": 32, "n_train": 46, "n_validation": 21, "n_test": 15},
        "model": {"dim": 16, "dropout": 0.0, **options},
    }
    return resolve(model, "synthetic_derm7pt", [base, changes or {}])


def exact(value: Any, device: torch.device) -> Any:
    """:func:`mmfusion.training.inference.move`, and in float64."""
    value = _move(value, device)
    if isinstance(value, Tensor):
        return value.double() if value.is_floating_point() else value
    if isinstance(value, Table):
        return Table(*(exact(part, device) for part in value))
    if isinstance(value, Cases):
        return Cases(*(exact(part, device) for part in value))
    if isinstance(value, dict):
        return {name: exact(part, device) for name, part in value.items()}
    return value


_move = inference.move


@contextmanager
def exactly() -> Iterator[None]:
    """Runs inside are comparable."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(inference, "move", exact))

        def frozen(module: nn.Module, mode: bool = True) -> nn.Module:
            return nn.Module.train(module, False)

        stack.enter_context(mock.patch.object(nn.modules.batchnorm._BatchNorm, "train", frozen, create=True))
        stack.enter_context(mock.patch.object(tip_pretraining, "hard_negatives", _hardest))
        try:
            yield
        finally:
            torch.set_default_dtype(before)


def _hardest(similarity: Tensor, eligible: Tensor, *, temperature: float) -> tuple[Tensor, Tensor]:
    return hard_negatives(similarity, eligible)


def everything(rank: int, folder: str) -> dict[str, Any]:
    return {"small": gradients_and_statistics(rank), **all_runs(rank, Path(folder))}


def gradients_and_statistics(rank: int) -> dict[str, Any]:
    """What is left of gradients that not every process has, and of batch statistics."""
    torch.manual_seed(rank)
    model = nn.ModuleList([nn.BatchNorm1d(2, momentum=1.0), nn.BatchNorm1d(2).eval(), nn.Linear(2, 1)])
    model[0](torch.arange(4.0).view(2, 2) + 10 * rank)
    everywhere, here, nowhere = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    everywhere.grad = torch.full((2,), 1.0 + rank)
    if rank == 1:
        here.grad = torch.full((2,), 8.0)
    averaging.average_gradients([everywhere, here, nowhere])
    averaging.align(model)
    return {
        "grads": [None if p.grad is None else p.grad.tolist() for p in (everywhere, here, nowhere)],
        "means": model[0].running_mean.tolist(),
        "frozen": model[1].running_var.tolist(),
        "weights": model[2].weight.flatten().tolist(),
        "main": processes.from_main(lambda: rank),
        "mean": processes.mean([float(rank)]),
        "total": processes.total(rank + 3),
        "rank": processes.index(),
    }


def all_runs(rank: int, folder: Path) -> dict[str, Any]:
    """Everything that is compared with a single process; what this process saw of it."""
    with exactly():
        for name, options in RUNS.items():
            run.start(settings(name, folder / name, **options))
        looked_at: list[dict[str, bool]] = []
        with mock.patch.object(inference, "lacking", partial(_seen, looked_at)):
            result = run.start(settings("concat", folder / "absent", ABSENT))
        run.start(settings("concat", folder / "maps", cached(folder)))
        interrupted(folder / "killed")
        if rank == 0:
            shutil.copytree(folder / "killed", folder / "killed-alone")
        run.resume(folder / "killed")
    return {"absent": looked_at, "metrics": dict(result.metrics), "drawn": drawn(folder / "dropout")}


def interrupted(out: Path) -> None:
    """A run that ends in its second epoch."""
    real = Training._epoch

    def epoch(self: Training, index: int, phase: Any, number: int, **options: Any) -> None:
        if number == 1:
            raise Killed
        real(self, index, phase, number, **options)

    with mock.patch.object(Training, "_epoch", epoch):
        try:
            run.start(settings("concat", out))
        except Killed:
            return
    raise AssertionError("it was not interrupted")


def drawn(out: Path) -> list[tuple[int, Tensor]]:
    """By step of a run with dropout, the seed of torch's generator and the mask."""
    found: list[tuple[int, Tensor]] = []

    def forward(self: nn.Dropout, x: Tensor) -> Tensor:
        mask = torch.nn.functional.dropout(torch.ones_like(x), self.p, self.training)
        if self.training and self.p:
            found.append((torch.initial_seed(), mask))
        return x * mask

    with mock.patch.object(nn.Dropout, "forward", forward):
        run.start(settings("concat", out, {"model": {"dropout": 0.5}, "train": {"epochs": 1}}))
    return found


def weights(out: Path) -> dict[str, Tensor]:
    return checkpoints.load(out / checkpoints.BEST)[0]


_lacking = inference.lacking


def _seen(log: list[dict[str, bool]], cases: Cases) -> dict[str, Tensor] | None:
    log.append({name: bool(mask.any()) for name, mask in cases.present.items()})
    return _lacking(cases)
