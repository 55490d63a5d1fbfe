"""Every registered loss, with its defaults and with each option that changes its formula."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers.degenerate_batches import degenerate_embeddings
from mmfusion import registry
from mmfusion.spec import Columns
from mmfusion.tokens import LossInputs

N_CLASSES, WIDTH = 3, 4
COLUMNS = Columns(numerical=("age", "size"), categorical=(("sex", 2), ("place", 4)))
REQUIRED: dict[str, Any] = {
    "columns": COLUMNS,
    "counts": (5, 3, 2),
    "dim": WIDTH,
    "n_classes": N_CLASSES,
    "parts": {"a": 1, "b": 2, "c": 1},
}
"""Options without a default, and the numbers of classes and of their cases."""
OPTIONAL = (("parts", "hsic"), ("parts", "orthogonality"))
"""Which of these have another meaning."""
OF_LOGITS = ("class_balanced", "cross_entropy", "focal", "logit_adjusted")
OF_LENGTHS = ("density", "leakage")
"""Losses of the embeddings as they are; all others are of their directions, unless ``normalize`` is false."""
CHOICES: list[tuple[str, dict[str, Any]]] = [
    *((name, {"loss": "SupConLoss"} if name == "metric" else {}) for name in registry.losses.list()),
    ("alignment", {"alpha": 1.0}),
    ("alignment", {"alpha": 3.0}),
    ("class_balanced", {"beta": 0.9, "gamma": 1.5, "counts": (7, 0, 2)}),
    ("consistency", {"kind": "mse"}),
    ("consistency", {"kind": "mse", "normalize": False}),
    ("cross_entropy", {"label_smoothing": 0.1, "class_weights": (1.0, 0.0, 2.0)}),
    ("focal", {"gamma": 0.5, "class_weights": (0.5, 2.0, 1.25)}),
    ("hierarchical_anchor", {"reduction": "published", "eps": 1e-8}),
    ("hsic", {"cka": True}),
    ("hsic", {"kernel": "linear", "cka": True}),
    ("hsic", {"kernel": "linear", "normalize": False}),
    ("hsic", {"bandwidth": 0.7, "normalize": False}),
    ("info_nce", {"positives": "class", "learn_temperature": True}),
    ("logit_adjusted", {"counts": (7, 0, 2), "tau": 1.7, "label_smoothing": 0.2}),
    ("masked_columns", {"on": "a", "hidden": 3}),
    ("matching", {"exclude": "class"}),
    ("orthogonality", {"kind": "cosine"}),
    ("uniformity", {"over": "all"}),
]
METRIC_CHOICES: list[tuple[str, dict[str, Any]]] = [
    ("metric", {"loss": "TripletMarginLoss", "on": "a"}),
    ("metric", {"loss": "TupletMarginLoss", "on": "all"}),
    ("metric", {"loss": "HistogramLoss", "on": "a"}),
    ("metric", {"loss": "NTXentLoss", "on": ("a", "b")}),
    ("metric", {"loss": "VICRegLoss", "on": ("a", "b"), "normalize": False}),
]
"""Losses of another library, on each kind of embeddings."""


def over(choices: list[tuple[str, dict[str, Any]]]) -> Any:
    """A decorator: the test runs for each choice."""
    ids = ["-".join(map(str, (name, *options.values()))) for name, options in choices]
    return pytest.mark.parametrize(("name", "options"), choices, ids=ids)


every_choice = over(CHOICES)

LABELS: dict[str, list[int]] = {
    "whole": [0, 1, 2, 1, 0, 2, 0],
    "one_case": [1],
    "two_cases": [0, 1],
    "one_class": [2, 2, 2],
    "absent_class": [0, 2, 2, 0],
    "unlabelled": [0, -1, 1, -1, -100, 3],
    "no_label": [-1, 3],
    "some_missing": [0, 1, 2, 1, 0, 2],
    "modality_missing": [0, 1, 2, 1],
    "one_case_of_a_modality": [0, 1, 0, 1],
    "nothing_present": [0, 1, 2],
    "duplicates": [0, 1, 0, 1],
    "mostly_duplicates": [0, 1, 2, 1, 0],
    "identical": [0, 1, 2, 0],
    "a_constant_modality": [0, 1, 2, 0, 1],
    "opposites": [0, 0, 1, 1],
    "a_zero_vector": [0, 1, 2, 0],
    "a_zero_modality": [0, 1, 2, 0],
    "all_zero": [0, 1, 2, 0],
    "tiny": [0, 1, 2, 0],
    "huge": [0, 1, 2, 0],
    "each_its_scale": [0, 1, 2, 0, 1],
}
"""The labels of each kind of batch; what is special about its embeddings is in ``degenerate_embeddings``."""


def create(name: str, options: dict[str, Any], dtype: torch.dtype = torch.float64, **more: Any) -> nn.Module:
    """A loss with its required options and those of its choice."""
    torch.manual_seed(0)
    known = registry.losses.options(name)
    required = {key: REQUIRED[key] for key in known if key in REQUIRED and (key, name) not in OPTIONAL}
    loss: nn.Module = registry.losses.create(name, **required | options | more)
    return loss.to(dtype)


def inputs(x: Tensor, present: Tensor, logits: Tensor, labels: list[int], generator: torch.Generator) -> LossInputs:
    """Everything that a loss may look at.

    Args:
        x: Embeddings of up to three modalities, shape ``(m, b, d)``.
        present: Shape ``(m, b)``, bool.
        logits: Shape ``(b, k)``.
        labels: One per case.
        generator: Draws a table.
    """
    n, columns = len(labels), len(COLUMNS.numerical) + len(COLUMNS.categorical)
    return LossInputs(
        {"label": logits},
        dict(zip("abc", x, strict=False)),
        {"label": torch.tensor(labels, dtype=torch.int64)},
        dict(zip("abc", present, strict=False)),
        {
            "columns.numerical": torch.randn(n, len(COLUMNS.numerical), generator=generator).double(),
            "columns.categorical": torch.stack(
                [torch.randint(0, k, (n,), generator=generator) for _, k in COLUMNS.categorical], 1
            ),
            "columns.masked": torch.rand(n, columns, generator=generator) < 0.5,
        },
    )


def batch(kind: str, seed: int = 0) -> LossInputs:
    """A batch of one of :data:`LABELS`' kinds, or of four ordinary cases; in float64 with values that float32 holds."""
    labels, generator = LABELS.get(kind, [0, 0, 1, 1]), torch.Generator().manual_seed(seed)
    x, present = degenerate_embeddings(kind, len(labels), WIDTH, generator)
    return inputs(x, present, torch.randn(len(labels), N_CLASSES, generator=generator).double(), labels, generator)
