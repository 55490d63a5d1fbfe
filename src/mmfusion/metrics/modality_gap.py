"""The gap between modalities as numbers of their embeddings, with intervals for other cases.

All numbers are of directions: embeddings divided by their lengths. One with length 0 has no direction and counts as
absent. With ``u_i`` and ``v_i`` the directions of case i in two modalities, over the cases that have both:

- ``distance``: ``|mean u - mean v|`` (Liang et al., 2022, arXiv 2203.02053, section 2.1), 0 to 2.
- ``modality_share``: the share of the variance of all directions together that lies between the two modalities, at most
  1. Unlike the distance it does not shrink where everything moves together.
- ``alignment``: mean of ``|u_i - v_i|^alpha`` (Wang and Isola, 2020, arXiv 2005.10242), 0 where both are one.
- ``prototype_distance``: mean over the classes of the distance between the class's prototypes, the directions of the
  class's mean in either modality, as the anchor losses take them; 0 to 2.
- ``class_share``: as ``modality_share``, between the classes; 0 by chance.

Of one set of embeddings, over the cases that have it:

- ``uniformity``: ``log mean exp(-t |u_i - u_j|^2)`` over pairs of different cases (Wang and Isola, 2020), ``-4 t`` to
  0: 0 where all directions are one.
- ``class_share``: the share of the variance that lies between the classes, at most 1.

The mean of a sample is not that of all cases, and two such means are farther apart than these: distances and shares
computed from them are too large, by more the fewer the cases and the wider they spread. Here products of means are
therefore means over pairs of different cases, of different groups where cases come in groups, ``mean u . mean v`` being
``mean over i != j of u_i . v_j``. This has no bias, but is not exactly what the means of the sample give: a share can
fall slightly below 0, a square of a distance as well, which is then 0. A class with the cases of a single group does
not count.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmfusion.metrics.bootstrap import N_RESAMPLES, percentiles, resample
from mmfusion.metrics.mean_products import LEAST_SQUARE, GroupSums, direction_distance, n_pairs, product_of_means
from mmfusion.metrics.ranking import Floats, divide

ALPHA = 2.0
"""Power of the distance in ``alignment``."""
T = 2.0
"""Factor of the squared distance in ``uniformity``."""


class GapNumber(NamedTuple):
    """One number with its interval for other cases.

    Attributes:
        measure: One of those above.
        of: The two modalities, or the one set.
        value: On the cases as they are; NaN where it is undefined: without two cases (``alignment``: one) of different
            groups, two classes, or any variance.
        low: Lower end of the interval, NaN where there is none.
        high: Upper end.
        n_cases: Cases that it is computed from.
    """

    measure: str
    of: tuple[str, ...]
    value: float
    low: float
    high: float
    n_cases: int


class Directions(NamedTuple):
    """One set of embeddings, divided by their lengths.

    Attributes:
        directions: Shape ``(n, d)``, of length 1; zeros for a case that does not count.
        counted: Which cases have the set, with a length above 0, shape ``(n,)``.
    """

    directions: Floats
    counted: NDArray[np.bool_]


_Weighted = Callable[[Floats], dict[str, Floats]]


def gap_numbers(
    embeddings: Mapping[str, ArrayLike],
    labels: ArrayLike | None = None,
    present: Mapping[str, ArrayLike] | None = None,
    groups: Sequence[str] | None = None,
    *,
    pairs: Sequence[tuple[str, str]] | None = None,
    alpha: float = ALPHA,
    t: float = T,
    n_resamples: int = N_RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> list[GapNumber]:
    """All numbers of each pair of modalities, then of each set.

    Args:
        embeddings: Shape ``(n, d)`` by set.
        labels: Shape ``(n,)``, class indices, -1 for a case without one; None: numbers of classes are left out.
        present: Which cases have which set, shape ``(n,)`` bool; one that is left out has all. What a case lacks may
            hold anything.
        groups: The patient or lesion of each case; cases of one are drawn together.
        pairs: Which pairs of sets; None: every pair of one width.
        alpha: Of ``alignment``, positive.
        t: Of ``uniformity``, positive.
        n_resamples: Resamples of the bootstrap, stratified by class; 0: there are no intervals.
        level: Coverage of the intervals, in (0, 1).
        seed: Of the bootstrap.

    Returns:
        With percentile intervals. Memory and time grow with the square of the cases.

    Raises:
        ValueError: If shapes do not fit, a pair has two widths or an unknown name, an embedding of a case that has it
            is not finite, or an option is out of range.
    """
    compared = _Compared(embeddings, labels, present, groups, pairs, alpha, t)
    drawn = [compared.measured(weights) for weights in compared.resampled(n_resamples, seed)]
    return [
        GapNumber(*key, value, *_interval([block[key] for block in drawn], level), compared.n_cases(key[1]))
        for key, value in compared.values().items()
    ]


def gap_differences(
    first: Mapping[str, ArrayLike],
    second: Mapping[str, ArrayLike],
    labels: ArrayLike | None = None,
    present: Mapping[str, ArrayLike] | None = None,
    groups: Sequence[str] | None = None,
    *,
    pairs: Sequence[tuple[str, str]] | None = None,
    alpha: float = ALPHA,
    t: float = T,
    n_resamples: int = N_RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> list[GapNumber]:
    """Numbers of the second embeddings minus those of the first, of the same cases; both see the same resamples.

    Args:
        first: As for :func:`gap_numbers`: before a training, or of another model.
        second: Of the same sets.
        labels: As for :func:`gap_numbers`.
        present: As there.
        groups: As there.
        pairs: As there.
        alpha: As there.
        t: As there.
        n_resamples: As there.
        level: As there.
        seed: As there.

    Raises:
        ValueError: As :func:`gap_numbers`, or if the sets are not the same.
    """
    if list(first) != list(second):
        raise ValueError(f"first and second expect the same sets, got {list(first)} and {list(second)}")
    before, after = (_Compared(one, labels, present, groups, pairs, alpha, t) for one in (first, second))
    drawn = [(before.measured(weights), after.measured(weights)) for weights in before.resampled(n_resamples, seed)]
    values = before.values(), after.values()
    return [
        GapNumber(
            *key,
            values[1][key] - values[0][key],
            *_interval([two[key] - one[key] for one, two in drawn], level),
            min(before.n_cases(key[1]), after.n_cases(key[1])),
        )
        for key in values[0]
    ]


def _interval(blocks: list[Floats], level: float) -> tuple[float, float]:
    return percentiles(np.concatenate(blocks), level)[:2] if blocks else (np.nan, np.nan)


class _Compared:
    """Directions of some sets, and their numbers under many weightings of the cases."""

    def __init__(
        self,
        embeddings: Mapping[str, ArrayLike],
        labels: ArrayLike | None,
        present: Mapping[str, ArrayLike] | None,
        groups: Sequence[str] | None,
        pairs: Sequence[tuple[str, str]] | None,
        alpha: float,
        t: float,
    ) -> None:
        if not (alpha > 0 and np.isfinite(alpha) and t > 0 and np.isfinite(t)):
            raise ValueError(f"alpha and t expect positive numbers, got {alpha} and {t}")
        self.sets = directions(embeddings, present or {})
        n = len(next(iter(self.sets.values())).counted)
        self.labels = np.full(n, -1) if labels is None else np.asarray(labels)
        if self.labels.shape != (n,) or self.labels.dtype.kind not in "iu" or self.labels.min() < -1:
            raise ValueError(f"labels expect shape ({n},), class indices or -1, got {self.labels.shape}")
        self.groups = groups
        names = np.arange(n) if groups is None else np.asarray(groups, dtype=str)
        if names.shape != (n,):
            raise ValueError(f"groups expects one per case, got {len(names)} groups and {n} cases")
        self.first, group = np.unique(names, return_index=True, return_inverse=True)[1:]
        widths = {name: one.directions.shape[1] for name, one in self.sets.items()}
        if pairs is None:
            pairs = [(a, b) for a, b in itertools.combinations(widths, 2) if widths[a] == widths[b]]
        for a, b in pairs:
            if a not in widths or b not in widths or widths[a] != widths[b]:
                raise ValueError(f"pairs expect two sets of one width, got {a!r} and {b!r} of {widths}")
        self.of: dict[tuple[str, ...], _Weighted] = {
            **{(a, b): _of_pair(self.sets[a], self.sets[b], self.labels, group, alpha) for a, b in pairs},
            **{(name,): _of_set(one, self.labels, group, t) for name, one in self.sets.items()},
        }
        self.has_labels = labels is not None

    def measured(self, weights: Floats) -> dict[tuple[str, tuple[str, ...]], Floats]:
        """Numbers ``(r,)`` under weights ``(r, n)``, the same for all cases of a group, by measure and sets."""
        weights = weights[:, self.first]
        return {
            (measure, of): values
            for of, measures in self.of.items()
            for measure, values in measures(weights).items()
            if self.has_labels or measure not in _OF_CLASSES
        }

    def values(self) -> dict[tuple[str, tuple[str, ...]], float]:
        """The numbers of the cases as they are."""
        return {key: float(value[0]) for key, value in self.measured(np.ones((1, len(self.labels)))).items()}

    def resampled(self, n_resamples: int, seed: int) -> list[Floats]:
        """Weights of the resamples, in blocks."""
        # Cases without a label are a stratum of their own.
        return list(resample(self.labels - self.labels.min(), self.groups, n_resamples=n_resamples, seed=seed))

    def n_cases(self, of: tuple[str, ...]) -> int:
        """Cases that have all these sets."""
        return int(np.logical_and.reduce([self.sets[name].counted for name in of]).sum())


_OF_CLASSES = ("prototype_distance", "class_share")


def directions(embeddings: Mapping[str, ArrayLike], present: Mapping[str, ArrayLike]) -> dict[str, Directions]:
    """Embeddings divided by their lengths, whatever these are.

    Args:
        embeddings: As for :func:`gap_numbers`.
        present: As there.

    Raises:
        ValueError: As there.
    """
    arrays = {name: np.asarray(x, dtype=np.float64) for name, x in embeddings.items()}
    shapes: dict[str, tuple[int, ...]] = {name: x.shape for name, x in arrays.items()}
    if not arrays or any(len(shape) != 2 or not all(shape) for shape in shapes.values()):
        raise ValueError(f"embeddings expect (n, d) by set, at least one, got {shapes}")
    n = {shape[0] for shape in shapes.values()}.pop()
    if any(shape[0] != n for shape in shapes.values()):
        raise ValueError(f"embeddings expect (n, d) of the same cases by set, got {shapes}")
    if unknown := sorted(set(present) - set(arrays)):
        raise ValueError(f"present has {unknown}, which are no sets of the embeddings {list(arrays)}")
    found = {}
    for name, x in arrays.items():
        has = np.asarray(present.get(name, np.ones(n, dtype=bool)))
        if has.shape != (n,) or has.dtype != bool:
            raise ValueError(f"present[{name!r}] expects bool of shape ({n},), got {has.dtype} of {has.shape}")
        if wrong := int((~np.isfinite(x[has])).any(axis=1).sum()):
            raise ValueError(
                f"the embeddings of {name!r} are not finite in {wrong} of {int(has.sum())} cases: where a case lacks "
                "it, say so by present"
            )
        largest = np.where(has, np.abs(np.where(has[:, None], x, 0.0)).max(axis=1), 0.0)
        scaled = np.where(has[:, None], x, 0.0) / np.where(largest > 0, largest, 1.0)[:, None]
        length = np.linalg.norm(scaled, axis=1)
        found[name] = Directions(scaled / np.where(length > 0, length, 1.0)[:, None], has & (length > 0))
    return found


def _of_pair(
    first: Directions, second: Directions, labels: NDArray[np.int64], group: NDArray[np.intp], alpha: float
) -> _Weighted:
    rows = np.flatnonzero(first.counted & second.counted)
    u, v, y, g = first.directions[rows], second.directions[rows], labels[rows], group[rows]
    n_groups = int(group.max()) + 1
    apart = GroupSums.of((np.linalg.norm(u - v, axis=1) ** alpha)[:, None], g, n_groups)
    difference, middle = (GroupSums.of(x, g, n_groups) for x in (u - v, (u + v) / 2))
    of_class = [tuple(GroupSums.of(x[y == c], g[y == c], n_groups) for x in (u, v)) for c in np.unique(y[y >= 0])]
    class_share = _class_share((u + v) / 2, y, g, n_groups)

    def measured(weights: Floats) -> dict[str, Floats]:
        square = product_of_means(weights, difference, difference)
        # Directions have length 1, so their mean square is 1.
        variance = 1 - product_of_means(weights, middle, middle)
        prototypes = [direction_distance(weights, *both) for both in of_class]
        return {
            "distance": np.sqrt(np.maximum(square, 0)),
            "modality_share": _share(square / 4, variance),
            "alignment": divide((weights @ apart.sums)[:, 0], weights @ apart.counts),
            "prototype_distance": _nanmean(prototypes, len(weights)),
            "class_share": class_share(weights),
        }

    return measured


def _of_set(one: Directions, labels: NDArray[np.int64], group: NDArray[np.intp], t: float) -> _Weighted:
    rows = np.flatnonzero(one.counted)
    u, y, g = one.directions[rows], labels[rows], group[rows]
    n_groups = int(group.max()) + 1
    square = np.maximum(2 - 2 * (u @ u.T), 0)
    square[g[:, None] == g] = np.inf
    least = square.min(initial=4.0)  # apart from it nothing underflows in its own exponential
    near = np.exp(-t * (square - least))
    counts = GroupSums.of(u, g, n_groups).counts
    class_share = _class_share(u, y, g, n_groups)

    def measured(weights: Floats) -> dict[str, Floats]:
        w = weights[:, g]
        mean = divide(((w @ near) * w).sum(axis=1), n_pairs(weights, counts))
        return {
            "uniformity": np.log(mean, out=np.full_like(mean, np.nan), where=mean > 0) - t * least,
            "class_share": class_share(weights),
        }

    return measured


def _class_share(
    x: Floats, labels: NDArray[np.int64], group: NDArray[np.intp], n_groups: int
) -> Callable[[Floats], Floats]:
    """Share of the variance of directions that lies between the classes, ``(r,)`` from weights ``(r, g)``.

    Args:
        x: Shape ``(n, d)``, of each case the mean of its directions.
        labels: Shape ``(n,)``, -1 for a case without one.
        group: Shape ``(n,)``.
        n_groups: g.
    """
    classes = [c for c in np.unique(labels[labels >= 0]) if len(np.unique(group[labels == c])) > 1]
    of_class = [GroupSums.of(x[labels == c], group[labels == c], n_groups) for c in classes]
    counted = np.isin(labels, classes)
    every = GroupSums.of(x[counted], group[counted], n_groups)

    def measured(weights: Floats) -> Floats:
        if len(classes) < 2:
            return np.full(len(weights), np.nan)
        n = weights @ every.counts
        square = sum(
            (divide(weights @ one.counts, n) * product_of_means(weights, one, one) for one in of_class),
            np.zeros(len(weights)),
        )
        square_of_mean = product_of_means(weights, every, every)
        return _share(square - square_of_mean, 1 - square_of_mean)

    return measured


def _share(part: Floats, variance: Floats) -> Floats:
    return divide(part, np.where(variance > LEAST_SQUARE, variance, 0))


def _nanmean(values: list[Floats], n: int) -> Floats:
    if not values:
        return np.full(n, np.nan)
    stacked = np.stack(values)
    defined = np.isfinite(stacked)
    return divide(np.where(defined, stacked, 0).sum(axis=0), defined.sum(axis=0).astype(np.float64))
