"""Distance between the modalities of a case."""

import torch
from torch import Tensor

from mmfusion.losses.base import Loss
from mmfusion.losses.batch import Batch
from mmfusion.losses.functional import formula, mean_where
from mmfusion.losses.pairs import Pairs, checked_pairs, modality_pairs, sides_of
from mmfusion.options import Positive
from mmfusion.registry import losses


@formula
def alignment_loss(first: Tensor, second: Tensor, both: Tensor, *, alpha: Positive = 2.0) -> Tensor:
    """How far apart the modalities of a case lie: the mean of ``|f - g|^alpha``.

    Wang and Isola 2020 (arXiv 2005.10242, section 4.1, L_align), on directions.

    Args:
        first: Shape ``(..., b, d)``; normalized inside.
        second: The same shape.
        both: Which cases have both, shape ``(..., b)``, bool; True counts. What is left out may hold anything.
        alpha: Positive. Below 1 the gradient grows without bound as the two meet; where they have met, the gradient
            is 0 for every alpha.

    Returns:
        A scalar, 0 to ``2^alpha``: the mean over pairs of modalities and cases with both together; 0 without one.

    Raises:
        ValueError: If alpha is not positive, or shapes or dtypes do not fit.
    """
    first, second = sides_of(first, second, both)
    square = (first - second).square().sum(-1)
    # The derivative of a root at 0 is infinite, and infinite times 0 is NaN. Below the smallest normal number the power
    # of the square overflows.
    met = square < torch.finfo(square.dtype).tiny
    distance = torch.where(met, 0.0, torch.where(met, 1.0, square) ** (alpha / 2))
    return mean_where(distance, both)


@losses.register("alignment")
class AlignmentLoss(Loss):
    """The modalities of a case close together; see :func:`alignment_loss`.

    Args:
        pairs: Names of two modalities each; None: every pair once.
        alpha: The power of the distance, positive.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(self, *, pairs: Pairs | None = None, alpha: Positive = 2.0) -> None:
        super().__init__()
        self.pairs = checked_pairs("pairs", pairs)
        self.alpha = alpha

    def compute(self, batch: Batch) -> Tensor:
        """The loss of at least two modalities' embeddings."""
        return alignment_loss(*modality_pairs(batch, self.pairs), alpha=self.alpha)
