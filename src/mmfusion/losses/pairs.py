"""Pairs of modalities: checks that their losses share."""

import math
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from mmfusion.layers.directions import unit
from mmfusion.utils.precision import full_precision

Pairs: TypeAlias = Sequence[tuple[str, str]]


def checked_pairs(option: str, pairs: Pairs | None) -> tuple[tuple[str, str], ...] | None:
    """Pairs of different names; lists, as a file of settings has them, will do.

    Raises:
        ValueError: If there is none, or one is not two different names.
    """
    if pairs is None:
        return None
    for pair in pairs:
        if isinstance(pair, str) or len(pair) != 2 or pair[0] == pair[1] or not all(isinstance(n, str) for n in pair):
            raise ValueError(f"{option} must be pairs of two different names, such as ('image', 'table'), got {pair!r}")
    if not pairs:
        raise ValueError(f"{option} must not be empty: leave it out for every pair")
    return tuple((one, other) for one, other in pairs)


def sides_of(first: Tensor, second: Tensor, both: Tensor, *, normalise: bool = True) -> tuple[Tensor, Tensor]:
    """Both sides in full precision, zero in what is left out; directions if ``normalise``."""
    if first.shape != second.shape or first.ndim < 2 or not (first.is_floating_point() and second.is_floating_point()):
        raise ValueError(
            "the two sides must be floating point of one shape (..., b, d), got "
            f"{first.dtype} {tuple(first.shape)} and {second.dtype} {tuple(second.shape)}"
        )
    if both.dtype != torch.bool or both.shape != first.shape[:-1]:
        raise ValueError(f"both must be bool of shape {tuple(first.shape[:-1])}, got {both.dtype} {tuple(both.shape)}")
    there = both.unsqueeze(-1)
    # Replaced, not multiplied, and before the lengths: 0 times NaN is NaN, in the gradient too.
    first, second = (torch.where(there, full_precision(side), 0.0) for side in (first, second))
    return (unit(first), unit(second)) if normalise else (first, second)


def check_positive(option: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{option} must be positive and finite, got {value}")


def check_share(option: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{option} must be 0 to 1, got {value}")


def check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{option} must be one of {choices}, got {value!r}")
