"""Difference between the modalities of a case."""

import itertools
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from mmfusion.losses.base import Loss
from mmfusion.losses.functional import mean_where
from mmfusion.losses.inputs import modality_pairs
from mmfusion.losses.pairs import Pairs, check_choice, checked_pairs, sides_of
from mmfusion.registry import losses
from mmfusion.tokens import LossInputs
from mmfusion.utils.precision import full_precision

Kind: TypeAlias = Literal["cosine", "mse"]


Side: TypeAlias = Literal["first", "second"]


def consistency_loss(
    first: Tensor, second: Tensor, both: Tensor, *, kind: Kind = "cosine", normalise: bool = True
) -> Tensor:
    """How much the modalities of a case differ.

    ``"cosine"`` is ``1 - cos``, ``"mse"`` the mean over the width of the squared difference.

    NOTE: on directions the mean squared error is ``2 (1 - cos) / d``, the cosine form with another weight, unless an
    embedding is zero. With ``normalise=False`` it is that of the embeddings as they are: it depends on their lengths,
    a network can lower it by shrinking them, and it overflows where a square is beyond the dtype's range.

    Args:
        first: Shape ``(..., b, d)``.
        second: The same shape.
        both: Which cases have both, shape ``(..., b)``, bool; True counts. What is left out may hold anything.
        kind: ``"cosine"`` or ``"mse"``.
        normalise: Compare directions; the cosine has no other form.

    Returns:
        A scalar, the mean over pairs of modalities and cases with both together, 0 if there is none. The cosine form
        lies in 0 to 2; it is 1 where an embedding is zero.

    Raises:
        ValueError: If an option is unknown or does not go with another, or shapes or dtypes do not fit.
    """
    _check_kind(kind, normalise)
    first, second = sides_of(first, second, both, normalise=normalise)
    if kind == "cosine":
        return mean_where(1 - (first * second).sum(-1), both)
    return mean_where((first - second).square().mean(-1), both)


@losses.register("consistency")
class ConsistencyLoss(Loss):
    """The modalities of a case alike; see :func:`consistency_loss`.

    Args:
        pairs: Names of two modalities each; None: every pair once.
        kind: ``"cosine"`` or ``"mse"``.
        normalise: Compare directions. False compares the embeddings as they are, by ``"mse"`` only: then the lengths
            count, and they must not be too large to be squared.
        detach: The side of each pair that is not moved, the teacher of a distillation; it needs ``pairs``, which say
            which modality is first. None: both are.

    Raises:
        ValueError: If an option is unknown or does not go with another.
    """

    def __init__(
        self,
        *,
        pairs: Pairs | None = None,
        kind: Kind = "cosine",
        normalise: bool = True,
        detach: Side | None = None,
    ) -> None:
        super().__init__()
        _check_kind(kind, normalise)
        if detach is not None:
            check_choice("detach", detach, get_args(Side))
            if pairs is None:
                raise ValueError(f"detach={detach!r} needs pairs=[(first, second), ...]: they say which side is which")
        self.pairs = checked_pairs("pairs", pairs)
        self.kind: Kind = kind
        self.normalise = normalise
        self.detach: Side | None = detach

    def loss(self, inputs: LossInputs) -> Tensor:
        """The loss from loss inputs with at least two modalities' embeddings."""
        first, second, both = modality_pairs(inputs, self.pairs)
        if not self.normalise:
            # The same pairs with their lengths; what is missing is masked by both.
            chosen = self.pairs or tuple(itertools.combinations(inputs.embeddings, 2))
            first = torch.stack([full_precision(inputs.embeddings[one]) for one, _ in chosen])
            second = torch.stack([full_precision(inputs.embeddings[other]) for _, other in chosen])
        if self.detach == "first":
            first = first.detach()
        if self.detach == "second":
            second = second.detach()
        return consistency_loss(first, second, both, kind=self.kind, normalise=self.normalise)

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"pairs={self.pairs}, kind={self.kind!r}, normalise={self.normalise}, detach={self.detach!r}"


def _check_kind(kind: str, normalise: bool) -> None:
    check_choice("kind", kind, get_args(Kind))
    if kind == "cosine" and not normalise:
        raise ValueError("a cosine is that of directions: normalise=False needs kind='mse'")
