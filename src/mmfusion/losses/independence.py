"""Terms that keep two parts of a representation apart: statistically independent, or orthogonal.

The parts are embeddings or entries of ``aux``, ``(b, d)`` each: a shared and a specific part of a modality, say, which
a model returns as ``aux["image.shared"]`` and ``aux["image.specific"]``.
"""

import itertools
import math
from typing import Literal, NamedTuple, TypeAlias, get_args

import torch
from torch import Tensor

from mmfusion.layers.directions import unit
from mmfusion.layers.precision import full_precision, without_autocast
from mmfusion.losses.crossmodal import Pairs, checked_pairs
from mmfusion.losses.functional import clamp_value, mean_where
from mmfusion.losses.inputs import stack_embeddings, stack_present
from mmfusion.losses.term import Term
from mmfusion.options import Positive
from mmfusion.registry import losses
from mmfusion.tokens import LossInputs

Kernel: TypeAlias = Literal["rbf", "linear"]
Kind: TypeAlias = Literal["difference", "cosine"]


def hsic(
    first: Tensor,
    second: Tensor,
    mask: Tensor,
    *,
    kernel: Kernel = "rbf",
    bandwidth: float | None = None,
    cka: bool = False,
) -> Tensor:
    """How strongly two representations depend on each other: the Hilbert-Schmidt independence criterion.

    ``tr(K H L H) / (n - 1)^2`` with the kernel matrices ``K`` and ``L`` of the n cases and ``H = I - 1/n`` (Gretton et
    al., ALT 2005, equation 9, the biased estimator). With the rbf kernel ``exp(-|x_i - x_j|^2 / (2 bandwidth^2))`` it
    tends to 0 with many cases if, and only if, the two are independent; with the linear kernel ``x_i . x_j`` it is the
    squared Frobenius norm of their covariance. The estimate from few cases is above 0 for independent ones too.

    ``cka=True`` divides it by ``sqrt(HSIC(K, K) HSIC(L, L))``: centred kernel alignment, 0 to 1 (Kornblith et al.
    2019, arXiv 1905.00414, equations 3 and 4).

    The embeddings are taken as they are. An rbf kernel that finds its bandwidth, and CKA, do not depend on the scale of
    a whole side; the others do. Where the squares of a side are beyond the dtype's range it overflows.

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
    _check_sides(first, second, mask)
    if not len(mask):  # a batch of no case, which has no largest entry
        return full_precision(first).sum() + full_precision(second).sum()
    with without_autocast(first):
        k, el = (_centred_kernel(side, mask, kernel, bandwidth).flatten() for side in (first, second))
        if cka:
            return (unit(k) * unit(el)).sum()
        # H is idempotent, so that tr(K H L H) is the sum of the products of the entries of H K H and H L H.
        return (k * el).sum() / (mask.sum() - 1).clamp(min=1) ** 2


def orthogonality(first: Tensor, second: Tensor, mask: Tensor, *, kind: Kind = "difference") -> Tensor:
    """How far two representations are from orthogonal.

    ``"difference"``: ``|A^T B|_F^2 / n^2`` with the directions of the n cases as the rows of ``A`` and ``B`` (Bousmalis
    et al. 2016, arXiv 1608.06019, equation 5, the soft subspace orthogonality of L_difference). It is 0 where every
    column of the one is orthogonal to every column of the other, over the cases of the batch. NOTE[DIFF] The
    equation neither scales the rows nor divides by n^2: this does not depend on lengths, nor grow with the batch. Some
    implementations centre the columns first, which the equation does not: for that there is :func:`hsic` with the
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
    _check_sides(first, second, mask)
    if kind == "cosine" and first.shape != second.shape:
        raise ValueError(
            f"a cosine needs parts of one width, got {tuple(first.shape)} and {tuple(second.shape)}: "
            "take kind='difference'"
        )
    first, second = _directions(first, mask), _directions(second, mask)
    if kind == "cosine":
        return mean_where((first * second).sum(-1).square(), mask)
    with without_autocast(first):
        return (first.mT @ second).square().sum() / mask.sum().clamp(min=1) ** 2


class PartsTerm(Term):
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


@losses.register("hsic")
class HSIC(PartsTerm):
    """Parts independent of each other; see :func:`hsic`.

    Args:
        parts: Pairs of names; as in :class:`PartsTerm`.
        kernel: ``"rbf"`` or ``"linear"``.
        bandwidth: Of the rbf kernel; None: from the median distance in the batch.
        cka: Centred kernel alignment, 0 to 1, instead of the criterion.
        normalise: Compare directions, of which distances are 0 to 2. False compares the parts as they are: then lengths
            count, and they must not be too large to be squared.

    Raises:
        ValueError: If an option is out of range.
    """

    min_cases = 2

    def __init__(
        self,
        *,
        parts: Pairs | None = None,
        kernel: Kernel = "rbf",
        bandwidth: Positive | None = None,
        cka: bool = False,
        normalise: bool = True,
    ) -> None:
        super().__init__(parts=parts)
        _check_kernel(kernel, bandwidth)
        self.kernel: Kernel = kernel
        self.bandwidth = bandwidth
        self.cka = cka
        self.normalise = normalise

    def of_parts(self, first: Tensor, second: Tensor, both: Tensor) -> Tensor:
        """The criterion of one pair of parts."""
        if self.normalise:
            first, second = _directions(first, both), _directions(second, both)
        return hsic(first, second, both, kernel=self.kernel, bandwidth=self.bandwidth, cka=self.cka)

    def extra_repr(self) -> str:
        """The options, for printing."""
        return (
            f"parts={self.parts}, kernel={self.kernel!r}, bandwidth={self.bandwidth}, cka={self.cka}, "
            f"normalise={self.normalise}"
        )


@losses.register("orthogonality")
class Orthogonality(PartsTerm):
    """Parts orthogonal to each other; see :func:`orthogonality`.

    Args:
        parts: Pairs of names; as in :class:`PartsTerm`.
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
        return orthogonality(first, second, both, kind=self.kind)

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"parts={self.parts}, kind={self.kind!r}"


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
        parts: As in :class:`PartsTerm`.

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


def _directions(x: Tensor, mask: Tensor) -> Tensor:
    """Replaced before the length is taken: 0 times NaN is NaN, in the gradient too."""
    return unit(torch.where(mask.unsqueeze(-1), full_precision(x), 0.0))


def _centred_kernel(x: Tensor, mask: Tensor, kernel: Kernel, bandwidth: float | None) -> Tensor:
    """``H K H`` of the cases that count, shape ``(b, b)``; zero for the others."""
    x = _centred(x, mask)
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


def _centred(x: Tensor, mask: Tensor) -> Tensor:
    """The cases around their mean: kernels do not depend on it, and distances that are small keep their digits."""
    there = mask.unsqueeze(-1)
    x = torch.where(there, full_precision(x), 0.0)
    centred = torch.where(there, x - x.sum(0) / mask.sum().clamp(min=1), 0.0)
    # In a column that is the same in all cases, rounding is left, of which the median and CKA would make a signal.
    largest, left = (values.detach().abs().amax(0) for values in (x, centred))
    return torch.where(left <= 16 * torch.finfo(x.dtype).eps * largest, 0.0, centred)  # NaN is not left out


def _median(square: Tensor, pairs: Tensor) -> Tensor:
    """Median of the squared distances above rounding, a scalar; 1 if there is none. All shapes are static."""
    differ = pairs & (square > 32 * torch.finfo(square.dtype).eps * torch.where(pairs, square, 0.0).amax())
    ordered = torch.where(differ, square, math.inf).flatten().sort().values
    # Each distance is there twice: the two entries in the middle are those in the middle of the single ones.
    count = differ.sum()
    middle = torch.stack([count // 2 - 1, count // 2]).clamp(min=0)
    return torch.where(count > 0, ordered.gather(0, middle).mean(), 1.0)


def _check_sides(first: Tensor, second: Tensor, mask: Tensor) -> None:
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


def _check_kernel(kernel: str, bandwidth: float | None) -> None:
    """Refuse a kernel that is unknown, and a bandwidth that is out of range or has no kernel.

    Raises:
        ValueError: With the option.
    """
    if kernel not in get_args(Kernel):
        raise ValueError(f"kernel must be one of {get_args(Kernel)}, got {kernel!r}")
    if bandwidth is not None:
        if kernel != "rbf":
            raise ValueError(f"a bandwidth is that of the rbf kernel, got {bandwidth} for {kernel!r}: leave it out")
        if not 0 < bandwidth < math.inf:
            raise ValueError(f"bandwidth must be positive and finite, got {bandwidth}")


def _check_orthogonality(kind: str) -> None:
    """Refuse a kind that is unknown.

    Raises:
        ValueError: With the kind.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"kind must be one of {get_args(Kind)}, got {kind!r}")
