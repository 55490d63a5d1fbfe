"""Small data for tests: specs, batches and what the losses look at."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mmfusion.spec import Columns, DataSpec, Image
from mmfusion.tokens import FusionOutput, Inputs, LossInputs, Present, Table

TABLE = Columns(numerical=("age", "size"), categorical=(("sex", 2), ("place", 4)))


def make_spec(
    *, images: int = 1, tables: int = 1, size: tuple[int, ...] = (16, 16), channels: int = 2, n_classes: int = 3
) -> DataSpec:
    """``image0``, ``image1``... of one shape, then ``table0``..."""
    modalities = {f"image{i}": Image(channels, size) for i in range(images)}
    return DataSpec(modalities | {f"table{i}": TABLE for i in range(tables)}, n_classes=n_classes)


def make_inputs(spec: DataSpec, n: int, *, seed: int = 0, missing_cells: bool = False) -> dict[str, Tensor | Table]:
    """Random content; with missing cells, the first case's whole table and about a third of the others' cells."""
    g = torch.Generator().manual_seed(seed)
    inputs: dict[str, Tensor | Table] = {
        name: torch.rand((n, *image.shape), generator=g) for name, image in spec.images.items()
    }
    for name, columns in spec.tables.items():
        numerical = torch.randn((n, len(columns.numerical)), generator=g)
        cells = [torch.randint(0, k, (n,), generator=g) for k in columns.cardinalities]
        categorical = torch.stack(cells, 1) if cells else torch.zeros((n, 0), dtype=torch.int64)
        if missing_cells:
            for part, nothing in ((numerical, float("nan")), (categorical, -1)):
                gone = torch.rand(part.shape, generator=g) < 1 / 3
                gone[0] = True
                part[gone] = nothing
        inputs[name] = Table(numerical, categorical)
    return inputs


def make_labels(spec: DataSpec, n: int) -> dict[str, Tensor]:
    """Each class in turn."""
    (name, target), *_ = spec.targets.items()
    return {name: torch.arange(n) % target.n_out}


def loss_inputs(output: FusionOutput, targets: Mapping[str, Tensor], present: Present | None = None) -> LossInputs:
    return LossInputs(output.outputs, output.embeddings, targets, present or {}, output.aux)


def rows(inputs: Inputs, order: Tensor) -> dict[str, Tensor | Table]:
    """Those cases of a batch, in that order."""
    return {
        name: Table(value.numerical[order], value.categorical[order]) if isinstance(value, Table) else value[order]
        for name, value in inputs.items()
    }


def spoilt(inputs: Inputs, name: str, there: Tensor) -> dict[str, Tensor | Table]:
    """The same batch with nonsense in the cases that lack a modality: NaN, infinity, categories that do not exist."""
    value = inputs[name]
    if isinstance(value, Table):
        numerical, categorical = value.numerical.clone(), value.categorical.clone()
        numerical[~there], categorical[~there] = float("inf"), 10**6
        return dict(inputs) | {name: Table(numerical, categorical)}
    x = value.clone()
    x[~there] = float("nan")
    return dict(inputs) | {name: x}
