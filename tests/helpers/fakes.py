"""A dataset and a model small enough to train in a blink, with the interfaces of the real ones.

Run as a script it is the command line with both of them registered, for tests that need a process of their own.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfusion import registry
from mmfusion.data.bundle import DataBundle
from mmfusion.data.frame import FrameDataset
from mmfusion.data.reader import CaseReader, TargetColumn
from mmfusion.data.schema.subgroups import Subgroup
from mmfusion.data.schema.table_schema import TableSchema
from mmfusion.losses.masked_columns import AUX, MaskedColumnsLoss
from mmfusion.models.phases import ParameterGroup, Phase
from mmfusion.spec import Columns, DataSpec
from mmfusion.tokens import FusionOutput, Inputs, LossInputs, Present, Table


def table(n: int, seed: int, missing: float = 0.0) -> pd.DataFrame:
    """Rows whose label follows from ``size`` and ``site``; ids are unique over seeds; two cases a patient."""
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.arange(n) % 2)
    frame = pd.DataFrame(
        {
            "case": [f"s{seed}c{i}" for i in range(n)],
            "patient": [f"s{seed}p{i // 2}" for i in range(n)],
            "size": rng.normal(size=n) + 1.0 * label,
            "site": np.where(rng.random(n) < 0.3 + 0.4 * label, "arm", "leg"),
            "dx": np.where(label == 1, "bad", "good"),
        }
    )
    frame.loc[rng.random(n) < missing, "size"] = np.nan
    return frame


def dataset(
    *,
    root: Path | None = None,
    data_seed: int = 0,
    n: int = 64,
    missing: float = 0.0,
    task: str = "dx",
    fold: int | None = None,
    split_file: str | None = None,
) -> DataBundle:
    """Columns only."""
    if root is not None and not root.is_dir():
        raise FileNotFoundError(f"no folder {root}")
    frames = {
        name: table(n, 10 * data_seed + part, missing) for part, name in enumerate(("train", "validation", "test"))
    }
    schema = TableSchema.fit(frames["train"], numerical=("size",), categorical=("site",))
    reader = CaseReader(
        {task: TargetColumn("dx", ("good", "bad"))}, schema=schema, id_column="case", group_column="patient"
    )
    parts: dict[str, FrameDataset] = {name: reader.read(frame) for name, frame in frames.items()}
    return DataBundle(
        "tiny",
        parts["train"],
        parts["validation"],
        parts["test"],
        reader,
        ceilings={"image": 0.5, "table": 0.8, "both": 0.9},
        notes=("This dataset is made up.",),
        fold=fold or 0,
        subgroups=(Subgroup("where", "site"), Subgroup("how large", "size", edges=(0.5,))),
    )


class Objective(nn.Module):
    """Cross-entropy, and a penalty that can be made to explode."""

    def __init__(self, target: str, explode_after: int) -> None:
        super().__init__()
        self.target = target
        self.register_buffer("calls", torch.zeros(()))
        self.explode_after = explode_after

    def forward(self, inputs: LossInputs) -> dict[str, Tensor]:
        self.calls += 1
        penalty = 1e-3 * inputs.embeddings["meta"].square().mean()
        if self.explode_after:
            penalty = torch.where(self.calls > self.explode_after, torch.nan, penalty)
        return {"ce": F.cross_entropy(inputs.outputs[self.target], inputs.targets[self.target]), "penalty": penalty}

    def check(self, inputs: LossInputs) -> None:
        if not bool(inputs.embeddings["meta"].isfinite().all()):
            raise ValueError("the embeddings of 'meta' are not finite")


class Guess(nn.Module):
    """How well hidden cells are told, with layers of its own and a count that a resumed run must go on with."""

    def __init__(self, columns: Columns, width: int) -> None:
        super().__init__()
        self.term = MaskedColumnsLoss(columns=columns, dim=width)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, inputs: LossInputs) -> dict[str, Tensor]:
        self.calls += 1
        return {"guess": self.term(inputs) / self.calls.sqrt()}


class Hiding(nn.Module):
    """In the model's place: half of the numerical cells are hidden from it, other ones in each step."""

    def __init__(self, tiny: "Tiny") -> None:
        super().__init__()
        self.tiny = tiny

    def forward(self, inputs: Inputs, present: Present | None = None) -> FusionOutput:
        meta = inputs["meta"]
        assert isinstance(meta, Table)
        hidden = torch.rand_like(meta.numerical) < 0.5
        output = self.tiny({"meta": meta._replace(numerical=meta.numerical.masked_fill(hidden, torch.nan))}, present)
        masked = torch.cat([hidden, torch.zeros_like(meta.categorical, dtype=torch.bool)], 1)
        truth = dict(zip(AUX, (meta.numerical, meta.categorical, masked), strict=True))
        return output._replace(aux=truth)


class Tiny(nn.Module):
    """A table through two layers with dropout and batch statistics, so that both must be resumed exactly."""

    def __init__(self, spec: DataSpec, *, width: int, pause: float, explode_after: int, pretrain: bool) -> None:
        super().__init__()
        self.target, kind = spec.single_target()
        columns = spec["meta"]
        self.pause = pause
        self.first = nn.Linear(2 * len(columns.numerical) + sum(columns.cardinalities), width)
        self.norm = nn.BatchNorm1d(width)
        self.drop = nn.Dropout(0.2)
        self.last = nn.Linear(width, kind.n_out)
        self.cardinalities = columns.cardinalities
        self.loss = Objective(self.target, explode_after)
        self.guess = Guess(columns, width) if pretrain else None

    def forward(self, inputs: Inputs, present: Present | None = None) -> FusionOutput:
        if self.training:
            time.sleep(self.pause)
        meta = inputs["meta"]
        assert isinstance(meta, Table)
        codes = [F.one_hot(c + 1, n + 1)[:, 1:] for c, n in zip(meta.categorical.T, self.cardinalities)]
        x = torch.cat([meta.numerical.nan_to_num(), meta.numerical.isnan(), *codes], dim=1)
        hidden = self.drop(torch.relu(self.norm(self.first(x.float()))))
        return FusionOutput({self.target: self.last(hidden)}, {"meta": hidden}, {})

    def phases(self) -> list[Phase]:
        encoder = ParameterGroup("encoder", tuple(self.first.parameters()))
        fusion = ParameterGroup("fusion", (*self.norm.parameters(), *self.last.parameters()))
        whole = Phase("train", self.loss, (encoder, fusion))
        if self.guess is None:
            return [whole]
        guess = ParameterGroup("fusion", (*self.norm.parameters(), *self.guess.parameters()))
        return [Phase("pretrain", self.guess, (encoder, guess), Hiding(self)), whole]


def model(
    spec: DataSpec,
    *,
    width: int = 8,
    encoder: str = "none",
    weights: str = "none",
    pause: float = 0.0,
    explode_after: int = 0,
    pretrain: bool = False,
) -> Tiny:
    """``pause``: seconds a step takes; ``explode_after``: steps until a loss is NaN; ``pretrain``: two phases."""
    if weights != "none" and os.environ.get("TINY_OFFLINE"):
        raise ValueError("these weights cannot be fetched")
    return Tiny(spec, width=width, pause=pause, explode_after=explode_after, pretrain=pretrain)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both under the name ``tiny``, for one test: the registries' other readers must not meet them."""
    for kind, builder in ((registry.models, model), (registry.datasets, dataset)):
        kind.list()
        monkeypatch.setitem(kind._builders, "tiny", builder)


if __name__ == "__main__":
    from mmfusion.cli import main

    torch.set_num_threads(1)
    registry.models.register("tiny")(model)
    registry.datasets.register("tiny")(dataset)
    sys.exit(main(sys.argv[1:]))
