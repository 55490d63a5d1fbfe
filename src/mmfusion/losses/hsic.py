"""Statistical dependence of two parts: the Hilbert-Schmidt independence criterion."""

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from mmfusion.layers.directions import unit
from mmfusion.losses.base import Loss
from mmfusion.losses.batch import Batch
from mmfusion.losses.functional import clamp_value, formula
from mmfusion.losses.pairs import Pairs, checked_pairs
from mmfusion.losses.part_pairs import check_parts, directions, mean_over_parts
from mmfusion.options import Positive
from mmfusion.registry import losses
from mmfusion.utils.precision import full_precision, without_autocast

Kernel: TypeAlias = Literal["rbf", "linear"]


@formula
def hsic_loss(
    first: Tensor,
    second: Tensor,
    mask: Tensor,
    *,
    kernel: Kernel = "rbf",
    bandwidth: Positive | None = None,
    cka: bool = False,
) -> Tensor:
    """How strongly two representations depend on each other: the Hilbert-Schmidt independence criterion.

    ``tr(K H L H) / (n - 1)^2`` with the kernel matrices ``K`` and ``L`` of the n cases and ``H = I - 1/n`` (Gretton et
    al., ALT 2005, equation 9, the biased estimator). With the rbf kernel ``exp(-|x_i - x_j|^2 / (2 bandwidth^2))`` it
    tends to 0 with many cases if, and only if, the two are independent; with the linear kernel ``x_i . x_j`` it is the
    squared Frobenius norm of their covariance. The estimate from few cases is above 0 for independent ones too.

    ``cka=True`` divides it by ``sqrt(HSIC(K, K) HSIC(L, L))``: centred kernel alignment, 0 to 1 (Kornblith et al.
    2019, arXiv 1905.00414, equations 3 and 4).

    The embeddings are taken as they are. An rbf kernel with the bandwidth of the batch, and CKA, do not depend on the
    scale of a whole side; the others do. Where the squares of a side are beyond the dtype's range it overflows.

    Args:
        first: Shape ``(b, d)``.
        second: Shape ``(b, e)``; another width is fine.
        mask: Which cases count, shape ``(b,)``, bool; True counts. What is left out may hold anything.
        kernel: ``"rbf"`` or ``"linear"``.
        bandwidth: Of the rbf kernel, for both sides; positive. None: for each side, such that its square is the median
            of the squared distances between cases that differ (the median heuristic: Gretton et al. 2012, JMLR 13:723,
            section 8); a constant, no gradient flows through it. It is 1 if no two cases differ.
        cka: Divide by the two sides' dependence on themselves.

    Returns:
        A scalar, not negative but for rounding; 0 for fewer than two cases, or a side that is the same in all of them.

    Raises:
        ValueError: If an option is out of range, or shapes or dtypes do not fit.
    """
    _check_kernel(kernel, bandwidth)
    check_parts(first, second, mask)
    if not len(mask):  # a batch of no case, which has no largest entry
        return full_precision(first).sum() + full_precision(second).sum()
    with without_autocast(first):
        k, el = (_centered_kernel(side, mask, kernel, bandwidth).flatten() for side in (first, second))
        if cka:
            return (unit(k) * unit(el)).sum()
        # H is idempotent, so that tr(K H L H) is the sum of the products of the entries of H K H and H L H.
        return (k * el).sum() / (mask.sum() - 1).clamp(min=1) ** 2


@losses.register("hsic")
class HSICLoss(Loss):
    """Parts independent of each other; see :func:`hsic_loss`.

    Args:
        parts: Pairs of names; as in :func:`~mmfusion.losses.part_pairs.part_pairs`.
        kernel: ``"rbf"`` or ``"linear"``.
        bandwidth: Of the rbf kernel; None: from the median distance in the batch.
        cka: Centred kernel alignment, 0 to 1, instead of the criterion.
        normalize: Compare directions, of which distances are 0 to 2. False compares the parts as they are: then lengths
            count, and they must not be too large to be squared.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        *,
        parts: Pairs | None = None,
        kernel: Kernel = "rbf",
        bandwidth: Positive | None = None,
        cka: bool = False,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        _check_kernel(kernel, bandwidth)
        self.parts = checked_pairs("parts", parts)
        self.kernel: Kernel = kernel
        self.bandwidth = bandwidth
        self.cka = cka
        self.normalize = normalize

    def compute(self, batch: Batch) -> Tensor:
        """The loss of embeddings or entries of ``aux``."""
        return mean_over_parts(batch, self.parts, self._of_parts, min_cases=2)

    def _of_parts(self, first: Tensor, second: Tensor, both: Tensor) -> Tensor:
        if self.normalize:
            first, second = directions(first, both), directions(second, both)
        return hsic_loss(first, second, both, kernel=self.kernel, bandwidth=self.bandwidth, cka=self.cka)


def _centered_kernel(x: Tensor, mask: Tensor, kernel: Kernel, bandwidth: float | None) -> Tensor:
    """``H K H`` of the cases that count, shape ``(b, b)``; zero for the others."""
    x = _centered(x, mask)
    pairs = mask.unsqueeze(-1) & mask
    gram = x @ x.mT
    if kernel == "rbf":
        length = gram.diagonal()
        square = clamp_value(length.unsqueeze(-1) + length - 2 * gram, low=0)
        # The centring takes a constant away: K - 1 instead of K keeps the digits of a kernel that is nearly flat.
        gram = torch.expm1(-square / (2 * (_median(square.detach(), pairs) if bandwidth is None else bandwidth**2)))
    gram = torch.where(pairs, gram, 0.0)
    n = mask.sum().clamp(min=1)
    means = gram.sum(-1) / n
    return torch.where(pairs, gram - means - means.unsqueeze(-1) + means.sum() / n, 0.0)


def _centered(x: Tensor, mask: Tensor) -> Tensor:
    """The cases around their mean: kernels do not depend on it, and distances that are small keep their digits."""
    counted = mask.unsqueeze(-1)
    x = torch.where(counted, full_precision(x), 0.0)
    centered = torch.where(counted, x - x.sum(0) / mask.sum().clamp(min=1), 0.0)
    # In a column that is the same in all cases, rounding is left, of which the median and CKA would make a signal.
    largest, left = (values.detach().abs().amax(0) for values in (x, centered))
    return torch.where(left <= 16 * torch.finfo(x.dtype).eps * largest, 0.0, centered)  # NaN is not left out


def _median(square: Tensor, pairs: Tensor) -> Tensor:
    """Median of the squared distances above rounding, a scalar; 1 without any. All shapes are static."""
    differ = pairs & (square > 32 * torch.finfo(square.dtype).eps * torch.where(pairs, square, 0.0).amax())
    ordered = torch.where(differ, square, math.inf).flatten().sort().values
    # Each distance occurs twice: the two entries in the middle are those in the middle of the single ones.
    count = differ.sum()
    middle = torch.stack([count // 2 - 1, count // 2]).clamp(min=0)
    return torch.where(count > 0, ordered.gather(0, middle).mean(), 1.0)


def _check_kernel(kernel: Kernel, bandwidth: float | None) -> None:
    if bandwidth is not None and kernel != "rbf":
        raise ValueError(f"a bandwidth is that of the rbf kernel, got {bandwidth} for {kernel!r}: leave it out")
