"""Pairs of parts of a representation: what the losses over them share.

The parts are embeddings or entries of ``aux``, ``(b, d)`` each: a shared and a specific part of a modality, say, which
a model returns as ``aux["image.shared"]`` and ``aux["image.specific"]``.
"""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from mmfusion.layers.directions import unit
from mmfusion.losses.batch import Batch
from mmfusion.losses.functional import mean_where
from mmfusion.losses.inputs import stack_embeddings, stack_present
from mmfusion.losses.pairs import Pairs
from mmfusion.utils.precision import full_precision
from mmfusion.utils.tensor_checks import require


def mean_over_parts(
    batch: Batch, parts: Pairs | None, formula: Callable[[Tensor, Tensor, Tensor], Tensor], *, min_cases: int = 1
) -> Tensor:
    """The mean of a formula over the pairs of parts that enough cases have.

    Args:
        batch: With embeddings or ``aux``.
        parts: As in :func:`part_pairs`.
        formula: From two parts and which cases count to a scalar.
        min_cases: How many cases are enough.

    Returns:
        A scalar; 0 without such a pair.

    Raises:
        ValueError: As :func:`part_pairs`.
    """
    pairs = part_pairs(batch, parts)
    values = torch.stack([formula(*pair) for pair in pairs])
    return mean_where(values, torch.stack([both.sum() >= min_cases for _, _, both in pairs]))


def part_pairs(batch: Batch, parts: Pairs | None = None) -> list[tuple[Tensor, Tensor, Tensor]]:
    """The pairs of parts, with the cases that have both.

    Args:
        batch: With embeddings or ``aux``.
        parts: Two names each, of embeddings or of entries of ``aux``, ``(b, d)``; where both have a name, the embedding
            is meant. None: every pair of embeddings once. A case counts where it has both parts: an entry of ``aux``
            called ``"image.shared"`` is present where the modality ``"image"`` is, one that is not called after a
            modality is always present.

    Returns:
        For each pair, its parts ``(b, d)`` and ``(b, e)`` as they were given, in float32 or float64, and which cases
        have both, ``(b,)`` bool.

    Raises:
        ValueError: If there are fewer than two embeddings for ``None``, or a name is unknown, or shapes do not fit.
    """
    if parts is None:
        if len(batch.embeddings) < 2:
            raise ValueError(
                "without parts this loss needs the embeddings of at least two modalities, got "
                f"{list(batch.embeddings)}: name the parts"
            )
        parts = list(itertools.combinations(batch.embeddings, 2))
    names = list(dict.fromkeys(name for pair in parts for name in pair))
    aux = list(batch.aux)  # to look at an entry may cost a collective
    if unknown := [name for name in names if name not in batch.embeddings and name not in aux]:
        raise ValueError(
            f"unknown parts {unknown}, expected some of the embeddings {list(batch.embeddings)} and of aux {aux}: "
            "fix the loss's parts"
        )
    tensors = {
        name: stack_embeddings({name: batch.embeddings[name] if name in batch.embeddings else batch.aux[name]})
        for name in names
    }
    if len({x.shape[1] for x in tensors.values()}) > 1:
        shapes = ", ".join(f"{name!r} {tuple(x.shape[1:])}" for name, x in tensors.items())
        raise ValueError(f"parts must have one row per case, got {shapes}")
    present = {name: stack_present({_modality(batch, name): x}, batch.present, x)[0] for name, x in tensors.items()}
    return [(tensors[left][0], tensors[right][0], present[left] & present[right]) for left, right in parts]


def _modality(batch: Batch, name: str) -> str:
    """The modality whose presence is that of a part: the longest one that the part is called after, or itself."""
    if name in batch.embeddings:
        return name
    owners = [modality for modality in (*batch.embeddings, *batch.present) if name.startswith(f"{modality}.")]
    return max(owners, key=len, default=name)


def directions(x: Tensor, mask: Tensor) -> Tensor:
    """Replaced before the length is taken: 0 times NaN is NaN, in the gradient too."""
    return unit(torch.where(mask.unsqueeze(-1), full_precision(x), 0.0))


def check_parts(first: Tensor, second: Tensor, mask: Tensor) -> None:
    """Raise an error for two parts that do not fit each other or the mask.

    Raises:
        ValueError: With shapes and dtypes.
    """
    require("the first side", first, "floating point", "b", "d")
    require("the second side", second, "floating point", len(first), "e")
    require("mask", mask, torch.bool, len(first))
