"""Orthogonality of two parts."""

from functools import partial
from typing import Literal, TypeAlias

from torch import Tensor

from mmfusion.losses.base import Loss
from mmfusion.losses.batch import Batch
from mmfusion.losses.functional import formula, mean_where
from mmfusion.losses.pairs import Pairs, checked_pairs
from mmfusion.losses.part_pairs import check_parts, directions, mean_over_parts
from mmfusion.registry import losses
from mmfusion.utils.precision import without_autocast

Kind: TypeAlias = Literal["difference", "cosine"]


@formula
def orthogonality_loss(first: Tensor, second: Tensor, mask: Tensor, *, kind: Kind = "difference") -> Tensor:
    """How far two representations are from orthogonal.

    ``"difference"``: ``|A^T B|_F^2 / n^2`` with the directions of the n cases as the rows of ``A`` and ``B`` (Bousmalis
    et al. 2016, arXiv 1608.06019, equation 5, the soft subspace orthogonality of L_difference). It is 0 where every
    column of the one is orthogonal to every column of the other, over the cases of the batch. NOTE[DIFF] The
    equation neither scales the rows nor divides by n^2: this does not depend on lengths, nor grow with the batch. Some
    implementations centre the columns first, which the equation does not: that is
    :func:`~mmfusion.losses.hsic.hsic_loss` with the linear kernel.

    ``"cosine"``: the mean over the cases of ``cos^2`` between the two parts of one case.

    Args:
        first: Shape ``(b, d)``; normalized inside.
        second: Shape ``(b, e)``; of the same width for ``"cosine"``.
        mask: Which cases count, shape ``(b,)``, bool; True counts. What is left out may hold anything.
        kind: ``"difference"`` or ``"cosine"``.

    Returns:
        A scalar, 0 to 1; 0 without a case.

    Raises:
        ValueError: If kind is unknown, or shapes or dtypes do not fit.
    """
    check_parts(first, second, mask)
    if kind == "cosine" and first.shape != second.shape:
        raise ValueError(
            f"a cosine needs parts of one width, got {tuple(first.shape)} and {tuple(second.shape)}: "
            "take kind='difference'"
        )
    first, second = directions(first, mask), directions(second, mask)
    if kind == "cosine":
        return mean_where((first * second).sum(-1).square(), mask)
    with without_autocast(first):
        return (first.mT @ second).square().sum() / mask.sum().clamp(min=1) ** 2


@losses.register("orthogonality")
class OrthogonalityLoss(Loss):
    """Parts orthogonal to each other; see :func:`orthogonality_loss`.

    Args:
        parts: Pairs of names; as in :func:`~mmfusion.losses.part_pairs.part_pairs`.
        kind: ``"difference"``: columns over the batch; ``"cosine"``: the parts of each case.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(self, *, parts: Pairs | None = None, kind: Kind = "difference") -> None:
        super().__init__()
        self.parts = checked_pairs("parts", parts)
        self.kind: Kind = kind

    def compute(self, batch: Batch) -> Tensor:
        """The loss of embeddings or entries of ``aux``."""
        return mean_over_parts(batch, self.parts, partial(orthogonality_loss, kind=self.kind))
