"""The prediction of a model whose table acts on the maps, stage after stage."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from helpers.small import make_inputs, make_spec
from mmfusion.models import FusionModel
from mmfusion.tokenizers import TableCells

SPEC = make_spec(images=1)
N = 4


def cells_of(inputs: Any) -> Tensor:
    """The table's cells, shape ``(b, n_features)``."""
    (cells,) = TableCells(SPEC["table0"])(inputs["table0"])
    return cells.x[:, 0]


def expected(model: FusionModel, act: Callable[[int, Tensor, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """What the model predicts, and what it would with these functions of ``(point, map, cells)`` between stages."""
    model.eval()
    inputs = make_inputs(SPEC, N, missing_cells=True)
    cells = cells_of(inputs)
    encoder: Any = model.encoders.backbones["image0"]
    x = act(0, encoder.stem(inputs["image0"]), cells)
    for i in range(encoder.n_stages):
        x = act(i + 1, encoder.stage(i, x), cells)
    project: Any = model.tokenizers["image0"].project
    embeddings = {"image0": project(x.flatten(2).mean(2))}
    if "table0" in model.tokenizers:
        (tokens,) = model.tokenizers["table0"](inputs["table0"])
        embeddings["table0"] = tokens.x[:, 0]
    return model(inputs).logits, model.head(model.vectors(embeddings))["label"]


def column(x: Tensor) -> Tensor:
    """Shape ``(b, c)`` to ``(b, c, 1, 1)``."""
    return x[:, :, None, None]


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
