"""Difference between the modalities of a case."""

from typing import Literal, TypeAlias

from torch import Tensor

from mmfusion.losses.base import Loss
from mmfusion.losses.batch import Batch
from mmfusion.losses.functional import formula, mean_where
from mmfusion.losses.pairs import Pairs, checked_pairs, modality_pairs, sides_of
from mmfusion.registry import losses

Kind: TypeAlias = Literal["cosine", "mse"]
Side: TypeAlias = Literal["first", "second"]


@formula
def consistency_loss(
    first: Tensor, second: Tensor, both: Tensor, *, kind: Kind = "cosine", normalize: bool = True
) -> Tensor:
    """How much the modalities of a case differ.

    ``"cosine"`` is ``1 - cos``, ``"mse"`` the mean over the width of the squared difference.

    NOTE: on directions the mean squared error is ``2 (1 - cos) / d``, the cosine form with another weight, unless an
    embedding is zero. With ``normalize=False`` it is that of the embeddings as they are: it depends on their lengths,
    a network can lower it by shrinking them, and it overflows where a square is beyond the dtype's range.

    Args:
        first: Shape ``(..., b, d)``.
        second: The same shape.
        both: Which cases have both, shape ``(..., b)``, bool; True counts. What is left out may hold anything.
        kind: ``"cosine"`` or ``"mse"``.
        normalize: Compare directions; the cosine has no other form.

    Returns:
        A scalar, the mean over pairs of modalities and cases with both together, 0 without one. The cosine form
        lies in 0 to 2; it is 1 where an embedding is zero.

    Raises:
        ValueError: If an option is unknown or does not go with another, or shapes or dtypes do not fit.
    """
    if kind == "cosine" and not normalize:
        raise ValueError("a cosine is that of directions: normalize=False needs kind='mse'")
    first, second = sides_of(first, second, both, normalize=normalize)
    if kind == "cosine":
        return mean_where(1 - (first * second).sum(-1), both)
    return mean_where((first - second).square().mean(-1), both)


@losses.register("consistency")
class ConsistencyLoss(Loss):
    """The modalities of a case alike; see :func:`consistency_loss`.

    Args:
        pairs: Names of two modalities each; None: every pair once.
        kind: ``"cosine"`` or ``"mse"``.
        normalize: Compare directions. False compares the embeddings as they are, by ``"mse"`` only: then the lengths
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
        normalize: bool = True,
        detach: Side | None = None,
    ) -> None:
        super().__init__()
        if kind == "cosine" and not normalize:
            raise ValueError("a cosine is that of directions: normalize=False needs kind='mse'")
        if detach is not None and pairs is None:
            raise ValueError(f"detach={detach!r} needs pairs=[(first, second), ...]: they say which side is which")
        self.pairs = checked_pairs("pairs", pairs)
        self.kind: Kind = kind
        self.normalize = normalize
        self.detach: Side | None = detach

    def compute(self, batch: Batch) -> Tensor:
        """The loss of at least two modalities' embeddings."""
        first, second, both = modality_pairs(batch, self.pairs, normalize=self.normalize)
        first = first.detach() if self.detach == "first" else first
        second = second.detach() if self.detach == "second" else second
        return consistency_loss(first, second, both, kind=self.kind, normalize=self.normalize)
