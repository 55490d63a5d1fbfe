"""Divergence: how it is seen, and what may help."""

from collections.abc import Iterable

import torch
from torch import Tensor

from mmfusion.training.settings import Train


def advice(train: Train, precision: str) -> str:
    """What a user can change, with the values that it has.

    Args:
        train: The settings of the training.
        precision: Of the run.
    """
    parts = [f"a lower train.lr (it is {train.lr:g})"]
    if not train.warmup_epochs:
        parts.append("train.warmup_epochs=1")
    clip = train.clip_norm
    parts.append("train.clip_norm=1" if clip is None else f"a lower train.clip_norm (it is {clip:g})")
    if precision != "no":
        parts.append("run.precision=no")
    return f"start anew with {', '.join(parts[:-1])} or {parts[-1]}"


def n_not_finite(weights: Iterable[Tensor]) -> int:
    """How many weights are NaN or infinite; the device is read once."""
    counts = [(~weight.detach().isfinite()).sum() for weight in weights]
    return int(torch.stack(counts).sum()) if counts else 0
