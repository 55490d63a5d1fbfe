"""Pairs of modalities: what the losses over them share."""

import itertools
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from mmfusion.layers.directions import unit
from mmfusion.losses.batch import Batch
from mmfusion.utils.precision import full_precision
from mmfusion.utils.tensor_checks import require

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
    return tuple((left, right) for left, right in pairs)


def modality_pairs(
    batch: Batch, pairs: Pairs | None = None, *, normalize: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """The embeddings of pairs of modalities.

    Args:
        batch: With at least two modalities' embeddings, of one width.
        pairs: Names; None: every pair once.
        normalize: Their directions; False: as they are, where a case that lacks one may hold anything.

    Returns:
        For p pairs, the one modality, shape ``(p, b, d)``, the other, the same shape, and which cases have both,
        ``(p, b)`` bool.

    Raises:
        ValueError: If there are fewer than two modalities, or a name is not among them, or shapes do not fit.
    """
    names = list(batch.embeddings)
    if len(names) < 2:
        raise ValueError(f"this loss needs the embeddings of at least two modalities, got {names}")
    if unknown := sorted({name for pair in pairs or () for name in pair} - set(names)):
        raise ValueError(f"unknown embeddings {unknown}, expected some of {names}: fix the loss's pairs")
    x, present = batch.units
    if not normalize:
        x = torch.stack([full_precision(embedding) for embedding in batch.embeddings.values()])
    index = [(names.index(left), names.index(right)) for left, right in pairs or itertools.combinations(names, 2)]
    first, second = ([pair[side] for pair in index] for side in (0, 1))
    return x[first], x[second], present[first] & present[second]


def sides_of(first: Tensor, second: Tensor, both: Tensor, *, normalize: bool = True) -> tuple[Tensor, Tensor]:
    """Both sides of a formula in full precision, zero in what is left out; directions if ``normalize``.

    Raises:
        ValueError: If shapes or dtypes do not fit.
    """
    require("the first side", first, "floating point", "...", "b", "d")
    require("the second side", second, "floating point", *first.shape)
    require("both", both, torch.bool, *first.shape[:-1])
    mask = both.unsqueeze(-1)
    # Replaced, not multiplied, and before the lengths: 0 times NaN is NaN, in the gradient too.
    first, second = (torch.where(mask, full_precision(side), 0.0) for side in (first, second))
    return (unit(first), unit(second)) if normalize else (first, second)
