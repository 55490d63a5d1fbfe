"""The terms over pairs of modalities: contrast, alignment and uniformity, and consistency.

Where the paper has two views of a case, these have two modalities of it; a case that lacks one of them is left out of
that pair. All of them work on directions, but for the raw form of :func:`consistency`.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from mmfusion.layers.directions import unit
from mmfusion.layers.precision import full_precision, without_autocast
from mmfusion.losses.functional import check_temperature, contrast_from_similarity, masked_logsumexp, mean_where
from mmfusion.losses.inputs import check_labels, modality_pairs, single_target, units_of
from mmfusion.losses.temperature import Temperature
from mmfusion.losses.term import Term
from mmfusion.options import Positive, Probability, TemperatureValue
from mmfusion.registry import losses
from mmfusion.tokens import LossInputs

Pairs: TypeAlias = Sequence[tuple[str, str]]
Positives: TypeAlias = Literal["case", "class"]
Over: TypeAlias = Literal["each", "all"]
Kind: TypeAlias = Literal["cosine", "mse"]
Side: TypeAlias = Literal["first", "second"]


def info_nce(
    first: Tensor,
    second: Tensor,
    both: Tensor,
    *,
    temperature: float | Tensor,
    labels: Tensor | None = None,
    first_weight: float = 0.5,
) -> Tensor:
    """Each case finds its other modality among those of all cases, and the other way round.

    CLIP (Radford et al. 2021, arXiv 2103.00020, figure 3): cross-entropy of the cosines over the temperature, over the
    rows and over the columns, averaged. Here over the cases that have both modalities, then over the pairs of
    modalities.

    With labels, every case of the same class is a positive and every case of another class a negative. The positives
    are summed inside the logarithm, as in :func:`~mmfusion.losses.functional.contrast`.

    Args:
        first: Shape ``(..., b, d)``; normalised inside.
        second: The same shape.
        both: Which cases have both, shape ``(..., b)``, bool; True counts. What is left out may hold anything.
        temperature: Divides the cosine similarity; positive.
        labels: Shape ``(b,)`` int64; a case with a negative label is left out. None: a case is its only positive.
        first_weight: What the direction from the first to the second counts, 0 to 1; the other direction counts the
            rest.

    Returns:
        A scalar, not negative. A pair of modalities without a negative is left out: one with fewer than two cases, or
        with a single class. 0 if no pair is left.

    Raises:
        ValueError: If temperature is not positive, the weight is out of range, or shapes or dtypes do not fit.
    """
    check_temperature(temperature)
    _check_share("first_weight", first_weight)
    first, second = _sides(first, second, both)
    n_cases = both.shape[-1]
    if labels is None:
        counted = both
        same = torch.eye(n_cases, dtype=torch.bool, device=both.device)
    else:
        check_labels(labels, n_cases)
        counted = both & (labels >= 0)
        same = labels.unsqueeze(-1) == labels
    seen = counted.unsqueeze(-1) & counted.unsqueeze(-2)  # (..., b, b), symmetric as same is: right for both directions
    positive, negative = same & seen, ~same & seen
    with without_autocast(first):
        similarity = first @ second.mT / temperature
        there = contrast_from_similarity(similarity, positive, negative)
        back = contrast_from_similarity(similarity.mT, positive, negative)
        there_and_back = first_weight * there + (1 - first_weight) * back
    per_pair = torch.where(counted, there_and_back, 0.0).sum(-1) / counted.sum(-1).clamp(min=1)
    return mean_where(per_pair, negative.flatten(-2).any(-1))


def alignment(first: Tensor, second: Tensor, both: Tensor, *, alpha: float = 2.0) -> Tensor:
    """How far apart the modalities of a case lie: the mean of ``|f - g|^alpha``.

    Wang and Isola 2020 (arXiv 2005.10242, section 4.1, L_align), on directions.

    Args:
        first: Shape ``(..., b, d)``; normalised inside.
        second: The same shape.
        both: Which cases have both, shape ``(..., b)``, bool; True counts. What is left out may hold anything.
        alpha: Positive. Below 1 the gradient grows without bound as the two meet; where they have met, the gradient
            is 0 for every alpha.

    Returns:
        A scalar, 0 to ``2^alpha``: the mean over pairs of modalities and cases with both together; 0 if there is none.

    Raises:
        ValueError: If alpha is not positive, or shapes or dtypes do not fit.
    """
    _check_positive("alpha", alpha)
    first, second = _sides(first, second, both)
    square = (first - second).square().sum(-1)
    # The derivative of a root at 0 is infinite, and infinite times 0 is NaN. Below the smallest normal number the power
    # of the square overflows.
    met = square < torch.finfo(square.dtype).tiny
    distance = torch.where(met, 0.0, torch.where(met, 1.0, square) ** (alpha / 2))
    return mean_where(distance, both)


def uniformity(x: Tensor, present: Tensor, *, t: float = 2.0, over: Over = "each") -> Tensor:
    """How unevenly directions lie on the sphere: ``log mean exp(-t |x_i - x_j|^2)`` over the pairs of cases.

    Wang and Isola 2020 (arXiv 2005.10242, section 4.1, L_uniform). The expectation is over pairs of different cases
    of the batch. Least where the directions spread evenly, 0 where all are one.

    Args:
        x: Shape ``(m, b, d)``; normalised inside.
        present: Which cases have which modality, shape ``(m, b)``, bool; True is there. What is not may hold anything.
        t: Positive.
        over: ``"each"`` modality by itself, then the mean over those with at least two cases; or ``"all"`` modalities
            as one set, where the modalities of one case are no pair: to bring these together is what alignment is for.

    Returns:
        A scalar, ``-4 t`` to 0: not a loss that can be compared with 0. 0 if there are no two cases.

    Raises:
        ValueError: If an option is out of range, or shapes or dtypes do not fit.
    """
    _check_positive("t", t)
    _check_choice("over", over, get_args(Over))
    if x.ndim != 3 or not x.is_floating_point() or present.dtype != torch.bool or present.shape != x.shape[:2]:
        raise ValueError(
            "uniformity works on floating point (m, b, d) with bool (m, b), got "
            f"{x.dtype} {tuple(x.shape)} with {present.dtype} {tuple(present.shape)}"
        )
    x = unit(torch.where(present.unsqueeze(-1), full_precision(x), 0.0))
    n_modalities, n_cases, _ = x.shape
    other_case = ~torch.eye(n_cases, dtype=torch.bool, device=x.device)
    if over == "all":
        x, present = x.flatten(0, 1).unsqueeze(0), present.flatten().unsqueeze(0)
        other_case = other_case.repeat(n_modalities, n_modalities)
    counted = (other_case & present.unsqueeze(-1) & present.unsqueeze(-2)).flatten(1)
    length = x.square().sum(-1)  # 1, but for zero vectors
    with without_autocast(x):
        distance = length.unsqueeze(-1) + length.unsqueeze(-2) - 2 * (x @ x.mT)
    n_pairs = counted.sum(-1)
    per_set = masked_logsumexp(-t * distance.flatten(1), counted) - n_pairs.clamp(min=1).to(x.dtype).log()
    return mean_where(per_set, n_pairs > 0)


def consistency(
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
    first, second = _sides(first, second, both, normalise=normalise)
    if kind == "cosine":
        return mean_where(1 - (first * second).sum(-1), both)
    return mean_where((first - second).square().mean(-1), both)


@losses.register("info_nce")
class InfoNCE(Term):
    """Each case against all others across modalities; see :func:`info_nce`.

    Args:
        pairs: Names of two modalities each; None: every pair once.
        temperature: Divides the cosine similarity; positive.
        learn_temperature: Make it a parameter that starts there, as CLIP does; see
            :class:`~mmfusion.losses.temperature.Temperature`.
        positives: ``"case"``: the other modality of the same case; ``"class"``: that of every case of its class, which
            needs a single target of classes.
        first_weight: What the direction from the first to the second of each pair counts, 0 to 1.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        *,
        pairs: Pairs | None = None,
        temperature: TemperatureValue = 0.07,
        learn_temperature: bool = False,
        positives: Positives = "case",
        first_weight: Probability = 0.5,
    ) -> None:
        super().__init__()
        _check_choice("positives", positives, get_args(Positives))
        _check_share("first_weight", first_weight)
        self.first_weight = first_weight
        self.pairs = checked_pairs("pairs", pairs)
        self.temperature = Temperature(temperature, learned=learn_temperature)
        self.positives: Positives = positives

    def loss(self, inputs: LossInputs) -> Tensor:
        """The loss from loss inputs with at least two modalities' embeddings."""
        labels = single_target(inputs) if self.positives == "class" else None
        return info_nce(
            *modality_pairs(inputs, self.pairs),
            temperature=self.temperature(),
            labels=labels,
            first_weight=self.first_weight,
        )

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"pairs={self.pairs}, positives={self.positives!r}, first_weight={self.first_weight}"


@losses.register("alignment")
class Alignment(Term):
    """The modalities of a case close together; see :func:`alignment`.

    Args:
        pairs: Names of two modalities each; None: every pair once.
        alpha: The power of the distance, positive.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(self, *, pairs: Pairs | None = None, alpha: Positive = 2.0) -> None:
        super().__init__()
        _check_positive("alpha", alpha)
        self.pairs = checked_pairs("pairs", pairs)
        self.alpha = alpha

    def loss(self, inputs: LossInputs) -> Tensor:
        """The loss from loss inputs with at least two modalities' embeddings."""
        return alignment(*modality_pairs(inputs, self.pairs), alpha=self.alpha)

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"pairs={self.pairs}, alpha={self.alpha}"


@losses.register("uniformity")
class Uniformity(Term):
    """The cases of a modality spread over the sphere; see :func:`uniformity`.

    Args:
        t: How near a neighbour has to be to count, positive.
        over: ``"each"`` modality by itself, or ``"all"`` as one set; they are of one width either way.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(self, *, t: Positive = 2.0, over: Over = "each") -> None:
        super().__init__()
        _check_positive("t", t)
        _check_choice("over", over, get_args(Over))
        self.t = t
        self.over: Over = over

    def loss(self, inputs: LossInputs) -> Tensor:
        """The loss from loss inputs with embeddings."""
        return uniformity(*units_of(inputs.embeddings, inputs.present), t=self.t, over=self.over)

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"t={self.t}, over={self.over!r}"


@losses.register("consistency")
class Consistency(Term):
    """The modalities of a case alike; see :func:`consistency`.

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
            _check_choice("detach", detach, get_args(Side))
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
        return consistency(first, second, both, kind=self.kind, normalise=self.normalise)

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"pairs={self.pairs}, kind={self.kind!r}, normalise={self.normalise}, detach={self.detach!r}"


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
    return tuple((one, other) for one, other in pairs)


def _sides(first: Tensor, second: Tensor, both: Tensor, *, normalise: bool = True) -> tuple[Tensor, Tensor]:
    """Both sides in full precision, zero in what is left out; directions if ``normalise``."""
    if first.shape != second.shape or first.ndim < 2 or not (first.is_floating_point() and second.is_floating_point()):
        raise ValueError(
            "the two sides must be floating point of one shape (..., b, d), got "
            f"{first.dtype} {tuple(first.shape)} and {second.dtype} {tuple(second.shape)}"
        )
    if both.dtype != torch.bool or both.shape != first.shape[:-1]:
        raise ValueError(f"both must be bool of shape {tuple(first.shape[:-1])}, got {both.dtype} {tuple(both.shape)}")
    there = both.unsqueeze(-1)
    # Replaced, not multiplied, and before the lengths: 0 times NaN is NaN, in the gradient too.
    first, second = (torch.where(there, full_precision(side), 0.0) for side in (first, second))
    return (unit(first), unit(second)) if normalise else (first, second)


def _check_positive(option: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{option} must be positive and finite, got {value}")


def _check_share(option: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{option} must be 0 to 1, got {value}")


def _check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{option} must be one of {choices}, got {value!r}")


def _check_kind(kind: str, normalise: bool) -> None:
    _check_choice("kind", kind, get_args(Kind))
    if kind == "cosine" and not normalise:
        raise ValueError("a cosine is that of directions: normalise=False needs kind='mse'")
