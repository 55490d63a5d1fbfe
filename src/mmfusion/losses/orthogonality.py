"""Orthogonality of two parts."""

from typing import Literal, TypeAlias, get_args

from torch import Tensor

from mmfusion.losses.functional import mean_where
from mmfusion.losses.pairs import Pairs
from mmfusion.losses.part_pairs import PartPairLoss, check_sides, directions
from mmfusion.registry import losses
from mmfusion.utils.precision import without_autocast

Kind: TypeAlias = Literal["difference", "cosine"]


def orthogonality_loss(first: Tensor, second: Tensor, mask: Tensor, *, kind: Kind = "difference") -> Tensor:
    """How far two representations are from orthogonal.

    ``"difference"``: ``|A^T B|_F^2 / n^2`` with the directions of the n cases as the rows of ``A`` and ``B`` (Bousmalis
    et al. 2016, arXiv 1608.06019, equation 5, the soft subspace orthogonality of L_difference). It is 0 where every
    column of the one is orthogonal to every column of the other, over the cases of the batch. NOTE[DIFF] The
    equation neither scales the rows nor divides by n^2: this does not depend on lengths, nor grow with the batch. Some
    implementations centre the columns first, which the equation does not: for that there is :func:`hsic_loss` with the
    linear kernel.

    ``"cosine"``: the mean over the cases of ``cos^2`` between the two parts of one case.

    Args:
        first: Shape ``(b, d)``; normalised inside.
        second: Shape ``(b, e)``; of the same width for ``"cosine"``.
        mask: Which cases count, shape ``(b,)``, bool; True counts. What is left out may hold anything.
        kind: ``"difference"`` or ``"cosine"``.

    Returns:
        A scalar, 0 to 1; 0 without a case.

    Raises:
        ValueError: If kind is unknown, or shapes or dtypes do not fit.
    """
    _check_orthogonality(kind)
    check_sides(first, second, mask)
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
class OrthogonalityLoss(PartPairLoss):
    """Parts orthogonal to each other; see :func:`orthogonality_loss`.

    Args:
        parts: Pairs of names; as in :class:`PartPairLoss`.
        kind: ``"difference"``: columns over the batch; ``"cosine"``: the parts of each case.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(self, *, parts: Pairs | None = None, kind: Kind = "difference") -> None:
        super().__init__(parts=parts)
        _check_orthogonality(kind)
        self.kind: Kind = kind

    def of_parts(self, first: Tensor, second: Tensor, both: Tensor) -> Tensor:
        """The loss of one pair of parts."""
        return orthogonality_loss(first, second, both, kind=self.kind)

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"parts={self.parts}, kind={self.kind!r}"


def _check_orthogonality(kind: str) -> None:
    """Refuse a kind that is unknown.

    Raises:
        ValueError: With the kind.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"kind must be one of {get_args(Kind)}, got {kind!r}")
