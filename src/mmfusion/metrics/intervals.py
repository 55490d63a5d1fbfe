"""Uncertainty of metrics: on one test set, by a stratified bootstrap of patients or lesions; over repeated splits."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmfusion.metrics.classification import BLOCK, evaluate, reported
from mmfusion.metrics.definitions import keeping_classes
from mmfusion.metrics.ranking import Floats
from mmfusion.utils.optional import need

N_RESAMPLES = 2000
LEAST_DEFINED = 0.5
"""Share of the resamples that must define a metric for it to have an interval."""
LEAST_SPLITS = 3
"""Differences that an interval over repeated splits, or over seeds, needs: with two, Student's factor is 12.7."""
# Differences that are equal but for rounding have a variance of rounding errors alone.
_ROUNDING = 1e-12


class Estimate(NamedTuple):
    """A metric with its uncertainty; all NaN where it is undefined.

    Where most resamples do not define it there is its value alone.

    Attributes:
        value: On the cases as they are.
        low: Lower end of the percentile interval.
        high: Upper end.
        error: Standard error: the standard deviation over the resamples.
    """

    value: float
    low: float
    high: float
    error: float

    def to_dict(self) -> dict[str, float | None]:
        """For JSON; None where undefined."""
        return {name: reported(value) for name, value in self._asdict().items()}


def resample(
    labels: ArrayLike, groups: Sequence[str] | None = None, *, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> Iterator[Floats]:
    """Weights of the cases in each resample of a stratified bootstrap.

    Groups are drawn with replacement, as many in each class as there are; all cases of a group come and go together.
    A group with cases of several classes counts to the one it has most of (the lower index of equals).

    Args:
        labels: Shape ``(n,)``, class indices.
        groups: The patient or lesion of each case; None: each case by itself.
        n_resamples: How many.
        seed: The same seed gives the same resamples, on every machine.

    Yields:
        Blocks of shape ``(r, n)``, how often each case was drawn; their ``r`` sum to ``n_resamples``.

    Raises:
        ValueError: If there is not one group per case.
    """
    y = np.asarray(labels, dtype=np.int64)
    names = np.arange(len(y)).astype(str) if groups is None else np.asarray(groups, dtype=str)
    if names.shape != y.shape:
        raise ValueError(f"resample expects one group per case, got {len(names)} groups and {len(y)} cases")
    _, group = np.unique(names, return_inverse=True)
    votes: NDArray[np.int64] = np.zeros((group.max() + 1, y.max() + 1), dtype=np.int64)
    np.add.at(votes, (group, y), 1)
    stratum = votes.argmax(axis=1)
    strata = [np.flatnonzero(stratum == s) for s in np.unique(stratum)]
    # A generator for each class: what is drawn does not depend on the size of the blocks.
    generators = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(len(strata))]
    block = max(1, BLOCK // len(y))
    for start in range(0, n_resamples, block):
        rows = min(block, n_resamples - start)
        drawn = np.zeros((rows, len(votes)))
        for members, generator in zip(strata, generators):
            m = len(members)
            picks = generator.integers(m, size=(rows, m)) + np.arange(rows)[:, None] * m
            drawn[:, members] = np.bincount(picks.ravel(), minlength=rows * m).reshape(rows, m)
        yield drawn[:, group]


def estimates(
    probabilities: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[str] | None = None,
    *,
    threshold: float = 0.5,
    names: Sequence[str] = (),
    extra: Sequence[str] = (),
    n_resamples: int = N_RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Every metric with its percentile interval.

    Args:
        probabilities: Shape ``(n, k)``.
        labels: Shape ``(n,)``.
        groups: As for :func:`resample`.
        threshold: As for :func:`~mmfusion.metrics.classification.evaluate`.
        names: Names of the classes.
        extra: As for :func:`~mmfusion.metrics.classification.evaluate`.
        n_resamples: Resamples of the bootstrap; 0: there is no interval.
        level: Coverage of the interval, in (0, 1).
        seed: Of the bootstrap.

    Returns:
        By metric. Resamples in which a metric is undefined are left out of its interval, and so are those that lost a
        class out of the intervals of means over classes.
    """
    return estimates_of(
        lambda weights: evaluate(probabilities, labels, weights, threshold=threshold, names=names, extra=extra),
        labels,
        groups,
        n_resamples=n_resamples,
        level=level,
        seed=seed,
    )


def estimates_of(
    metrics: Callable[[Floats | None], Mapping[str, Floats]],
    labels: ArrayLike,
    groups: Sequence[str] | None = None,
    *,
    n_resamples: int = N_RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Any metrics with their percentile intervals, on the same resamples as :func:`estimates`.

    Args:
        metrics: By name, shape ``(r,)``, for weights ``(r, n)``; for None those of the cases as they are.
        labels: Shape ``(n,)``.
        groups: As for :func:`resample`.
        n_resamples: Resamples of the bootstrap; 0: there is no interval.
        level: Coverage of the interval, in (0, 1).
        seed: Of the bootstrap.

    Returns:
        By metric. Resamples in which a metric is undefined are left out of its interval, and so are those that lost a
        class out of the intervals of means over classes.
    """
    point = metrics(None)
    blocks = [
        keeping_classes(metrics(weights), labels, weights)
        for weights in resample(labels, groups, n_resamples=n_resamples, seed=seed)
    ]
    return {
        name: estimate(float(value[0]), np.concatenate([value[:0], *(block[name] for block in blocks)]), level)
        for name, value in point.items()
    }


def estimate(value: float, replicates: Floats, level: float = 0.95) -> Estimate:
    """A value with the percentile interval of its replicates; see :func:`percentiles`."""
    if not np.isfinite(value):
        return Estimate(value, np.nan, np.nan, np.nan)
    return Estimate(value, *percentiles(replicates, level))


def percentiles(replicates: Floats, level: float = 0.95) -> tuple[float, float, float]:
    """Percentile interval and standard deviation of the replicates that are finite.

    Args:
        replicates: Shape ``(r,)``.
        level: Coverage of the interval, in (0, 1).

    Returns:
        All NaN where less than :data:`LEAST_DEFINED` of the replicates are finite: what is left would be of the
        resamples that happen to suit.
    """
    defined = replicates[np.isfinite(replicates)]
    if not len(defined) or len(defined) < LEAST_DEFINED * len(replicates):
        return np.nan, np.nan, np.nan
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high), float(defined.std())


class Difference(NamedTuple):
    """A paired difference over repeated splits.

    Attributes:
        mean: Of the differences.
        low: Lower end of the interval.
        high: Upper end.
        p: Two-sided probability of such a mean where there is no difference.
    """

    mean: float
    low: float
    high: float
    p: float


def corrected_resampled_difference(
    differences: ArrayLike,
    *,
    n_train: float,
    n_test: float,
    level: float = 0.95,
    bounds: tuple[float, float] = (-1.0, 1.0),
) -> Difference:
    """Mean, interval and test of paired differences over random splits of one dataset.

    The splits share cases, so their differences are not independent and their plain standard error is too small. It
    is corrected as by Nadeau and Bengio (Machine Learning 52:239, 2003): the variance of the mean is
    ``(1/r + n_test/n_train)`` times that of the differences, with ``r - 1`` degrees of freedom.

    Args:
        differences: Shape ``(r,)``, one a split (and seed), at least two.
        n_train: Cases of a training set.
        n_test: Cases of a test set.
        level: Coverage of the interval, in (0, 1).
        bounds: The least and the greatest difference that the metric can have, see
            :func:`~mmfusion.metrics.definitions.difference_range`; the interval is what of it is between them.

    Returns:
        All NaN but the mean where there are fewer than :data:`LEAST_SPLITS` differences, or all are equal and there is
        nothing to estimate a variance from.

    Raises:
        ValueError: If there are fewer than two differences, or one is not finite or out of bounds.
    """
    d = np.asarray(differences, dtype=np.float64)
    if d.ndim != 1 or len(d) < 2 or not np.isfinite(d).all():
        raise ValueError(f"expected at least two finite differences, got {d}")
    if d.min() < bounds[0] - _ROUNDING or d.max() > bounds[1] + _ROUNDING:
        raise ValueError(f"expected differences from {bounds[0]} to {bounds[1]} (bounds=), got {d}")
    mean, variance = float(d.mean()), float(d.var(ddof=1))
    if len(d) < LEAST_SPLITS or np.ptp(d) <= _ROUNDING:
        return Difference(mean, np.nan, np.nan, np.nan)
    student = need("scipy.stats", "bench").t(len(d) - 1)
    error = math.sqrt((1 / len(d) + n_test / n_train) * variance)
    reach = float(student.ppf((1 + level) / 2)) * error
    return Difference(mean, *within(mean, reach, bounds), float(2 * student.sf(abs(mean) / error)))


def within(mean: float, reach: float, bounds: tuple[float, float]) -> tuple[float, float]:
    """The part of a symmetric interval that is possible: it holds the true value as often as the whole.

    Args:
        mean: Its middle.
        reach: Half of its width.
        bounds: The least and the greatest possible value.
    """
    return max(mean - reach, bounds[0]), min(mean + reach, bounds[1])
