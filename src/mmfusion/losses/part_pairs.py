"""Pairs of parts of a representation: base class and checks."""

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from mmfusion.layers.directions import unit
from mmfusion.losses.base import Loss
from mmfusion.losses.functional import mean_where
from mmfusion.losses.inputs import stack_embeddings, stack_present
from mmfusion.losses.pairs import Pairs, checked_pairs
from mmfusion.tokens import LossInputs
from mmfusion.utils.precision import full_precision


class PartPairLoss(Loss):
    """A term over pairs of parts, averaged over the pairs that have enough cases.

    Args:
        parts: Two names each, of embeddings or of entries of ``aux``, ``(b, d)``; where both have a name, the embedding
            is meant. None: every pair of embeddings once. A case counts where it has both parts: an entry of ``aux``
            called ``"image.shared"`` is there where the modality ``"image"`` is, one that is not called after a
            modality is always there.

    Raises:
        ValueError: If a pair is not two different names.
    """

    min_cases: int = 1

    def __init__(self, *, parts: Pairs | None = None) -> None:
        super().__init__()
        self.parts = checked_pairs("parts", parts)

    def loss(self, inputs: LossInputs) -> Tensor:
        """The loss from loss inputs that have the parts."""
        pairs = part_pairs(inputs, self.parts)
        values = torch.stack([self.of_parts(*pair) for pair in pairs])
        enough = torch.stack([both.sum() >= self.min_cases for _, _, both in pairs])
        return mean_where(values, enough)

    def of_parts(self, first: Tensor, second: Tensor, both: Tensor) -> Tensor:
        """The loss of one pair of parts, a scalar."""
        raise NotImplementedError(f"{type(self).__name__} must define of_parts()")


class PartPair(NamedTuple):
    """Two parts side by side.

    Attributes:
        first: Shape ``(b, d)``, as it was given; in float32 or float64.
        second: Shape ``(b, e)``.
        both: Which cases have both, shape ``(b,)``, bool.
    """

    first: Tensor
    second: Tensor
    both: Tensor


def part_pairs(inputs: LossInputs, parts: Pairs | None = None) -> list[PartPair]:
    """The pairs of parts, with the cases that have both.

    Args:
        inputs: Loss inputs.
        parts: As in :class:`PartPairLoss`.

    Returns:
        One entry a pair.

    Raises:
        ValueError: If there are fewer than two embeddings for ``None``, or a name is unknown, or shapes do not fit.
    """
    if parts is None:
        if len(inputs.embeddings) < 2:
            raise ValueError(
                "without parts this term needs the embeddings of at least two modalities, got "
                f"{list(inputs.embeddings)}: name the parts"
            )
        parts = list(itertools.combinations(inputs.embeddings, 2))
    names = list(dict.fromkeys(name for pair in parts for name in pair))
    aux = list(inputs.aux)  # to look at an entry may cost a collective
    if unknown := [name for name in names if name not in inputs.embeddings and name not in aux]:
        raise ValueError(
            f"there are no parts {unknown}, there are the embeddings {list(inputs.embeddings)} and in aux {aux}: "
            "mend the term's parts"
        )
    found = {
        name: stack_embeddings({name: inputs.embeddings[name] if name in inputs.embeddings else inputs.aux[name]})
        for name in names
    }
    if len({x.shape[1] for x in found.values()}) > 1:
        shapes = ", ".join(f"{name!r} {tuple(x.shape[1:])}" for name, x in found.items())
        raise ValueError(f"parts must have one row a case, got {shapes}")
    there = {name: stack_present({_modality(inputs, name): x}, inputs.present, x)[0] for name, x in found.items()}
    return [PartPair(found[one][0], found[other][0], there[one] & there[other]) for one, other in parts]


def _modality(inputs: LossInputs, name: str) -> str:
    """The modality whose presence is that of a part: the longest one that the part is called after, or itself."""
    if name in inputs.embeddings:
        return name
    owners = [modality for modality in (*inputs.embeddings, *inputs.present) if name.startswith(f"{modality}.")]
    return sorted(owners, key=len)[-1] if owners else name


def directions(x: Tensor, mask: Tensor) -> Tensor:
    """Replaced before the length is taken: 0 times NaN is NaN, in the gradient too."""
    return unit(torch.where(mask.unsqueeze(-1), full_precision(x), 0.0))


def check_sides(first: Tensor, second: Tensor, mask: Tensor) -> None:
    if (
        first.ndim != 2
        or second.ndim != 2
        or len(first) != len(second)
        or not (first.is_floating_point() and second.is_floating_point())
    ):
        raise ValueError(
            "the two sides must be floating point of shapes (b, d) and (b, e), got "
            f"{first.dtype} {tuple(first.shape)} and {second.dtype} {tuple(second.shape)}"
        )
    if mask.dtype != torch.bool or mask.shape != first.shape[:1]:
        raise ValueError(f"mask must be bool of shape ({len(first)},), got {mask.dtype} {tuple(mask.shape)}")
