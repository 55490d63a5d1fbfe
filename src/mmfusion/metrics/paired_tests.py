"""Paired tests of two models on the same cases, and Holm's correction of several tests."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmfusion.metrics.bootstrap import N_RESAMPLES, percentiles, resample
from mmfusion.metrics.classification import evaluate
from mmfusion.metrics.definitions import difference_range, keeping_classes
from mmfusion.metrics.differences import Difference, within
from mmfusion.metrics.ranking import Floats
from mmfusion.utils.optional import need


class DeLong(NamedTuple):
    """Areas under ROC curves of several scores on the same cases.

    Attributes:
        auc: Shape ``(m,)``.
        covariance: Shape ``(m, m)``, of the areas.
    """

    auc: Floats
    covariance: Floats


def delong(scores: ArrayLike, labels: ArrayLike) -> DeLong:
    """Areas and their covariance by their structural components (DeLong et al., Biometrics 44:837, 1988).

    In ``m n log n`` by midranks (Sun and Xu, IEEE Signal Processing Letters 21:1389, 2014); exact with ties.

    Args:
        scores: Shape ``(m, n)``, one row a model; higher speaks for class 1.
        labels: Shape ``(n,)``, 0 or 1; at least two cases of each.

    Returns:
        The areas and their covariance.

    Raises:
        ValueError: If shapes or values do not fit.
    """
    s, y = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if s.ndim != 2 or y.shape != s.shape[1:] or not np.isfinite(s).all() or not np.isin(y, (0, 1)).all():
        raise ValueError(f"delong expects finite scores (m, n) and labels (n,) of 0 and 1, got {s.shape} and {y.shape}")
    n1, n0 = int((y == 1).sum()), int((y == 0).sum())
    if min(n1, n0) < 2:
        raise ValueError(f"delong expects at least two cases of each class, got {n0} and {n1}")
    above, below = structural_components(s, y == 1)
    covariance = np.atleast_2d(np.cov(above)) / n1 + np.atleast_2d(np.cov(below)) / n0
    return DeLong(above.mean(axis=1), covariance)


def structural_components(scores: Floats, positive: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Share of the other class that each case is ranked rightly against; ties count half.

    Args:
        scores: Shape ``(m, n)``, one row per model.
        positive: Shape ``(n,)``; at least one case of each kind.

    Returns:
        Of the positives ``(m, n1)`` and of the negatives ``(m, n0)``, each in their order; either's mean is the AUC.
    """
    stats = need("scipy.stats", "bench")
    hits, misses = scores[:, positive], scores[:, ~positive]
    n1, n0 = hits.shape[1], misses.shape[1]
    rank = stats.rankdata(np.concatenate([hits, misses], axis=1), axis=1)
    # How many of the other class lie below each case, ties counting half: its rank among all less that among its own.
    above = (rank[:, :n1] - stats.rankdata(hits, axis=1)) / n0
    below = 1 - (rank[:, n1:] - stats.rankdata(misses, axis=1)) / n1
    return above, below


def compare_auc(one: ArrayLike, other: ArrayLike, labels: ArrayLike, *, level: float = 0.95) -> Difference:
    """DeLong's test of two AUCs on the same cases, which must not come in groups.

    Args:
        one: Scores of one model, shape ``(n,)``.
        other: Of the other.
        labels: Shape ``(n,)``, 0 or 1.
        level: Coverage of the interval, in (0, 1).

    Returns:
        AUC of one less that of the other. Where the difference cannot vary, as between equal rankings, the interval is
        the difference itself and ``p`` is 1 for none.

    Raises:
        ValueError: As :func:`delong`.
    """
    normal = need("scipy.stats", "bench").norm
    auc, covariance = delong(np.stack([np.asarray(one), np.asarray(other)]), labels)
    mean = float(auc[0] - auc[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    if variance <= 1e-15:
        return Difference(mean, mean, mean, 1.0 if mean == 0 else 0.0)
    error = variance**0.5
    reach = float(normal.ppf((1 + level) / 2)) * error
    ends = within(mean, reach, difference_range("auc", 2))
    return Difference(mean, *ends, float(2 * normal.sf(abs(mean) / error)))


def compare(
    one: ArrayLike,
    other: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[str] | None = None,
    *,
    metric: str = "auc",
    n_resamples: int = N_RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """A paired bootstrap of any metric: both models on the same resamples of the same patients or lesions.

    Args:
        one: Probabilities of one model, shape ``(n, k)``.
        other: Of the other.
        labels: Shape ``(n,)``.
        groups: The patient or lesion of each case; None: each case by itself.
        metric: One of :data:`~mmfusion.metrics.classification.NAMES`.
        n_resamples: Resamples of the stratified bootstrap.
        level: Coverage of the interval, in (0, 1).
        seed: Of the bootstrap.

    Returns:
        Metric of one less that of the other, percentile interval, and twice the smaller share of resamples on one
        side of 0 (at least ``1 / (resamples + 1)``: more is not known).

    Raises:
        ValueError: If the metric is unknown, or shapes do not fit.
    """
    known = evaluate(one, labels)
    if metric not in known:
        raise ValueError(f"no metric {metric!r}; there are: {', '.join(known)}")
    mean = float(known[metric][0] - evaluate(other, labels)[metric][0])
    drawn = np.concatenate(
        [
            keeping_classes({metric: evaluate(one, labels, weights)[metric]}, labels, weights)[metric]
            - evaluate(other, labels, weights)[metric]
            for weights in resample(labels, groups, n_resamples=n_resamples, seed=seed)
        ]
    )
    low, high, p = bootstrap_test(drawn, level) if np.isfinite(mean) else (np.nan, np.nan, np.nan)
    return Difference(mean, low, high, p)


def bootstrap_test(drawn: Floats, level: float = 0.95) -> tuple[float, float, float]:
    """The percentile interval of a difference, and twice the smaller share of resamples on one side of 0.

    Args:
        drawn: Shape ``(r,)``, the difference on each resample; NaN where it is undefined.
        level: Coverage of the interval, in (0, 1).

    Returns:
        Ends and probability; all NaN where too few resamples define the difference, see
        :func:`~mmfusion.metrics.bootstrap.percentiles`.
    """
    low, high, _ = percentiles(drawn, level)
    if not np.isfinite(low):
        return np.nan, np.nan, np.nan
    defined = drawn[np.isfinite(drawn)]
    tail = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return low, high, min(1.0, 2 * (tail + 1) / (len(defined) + 1))


def mcnemar(one: ArrayLike, other: ArrayLike, labels: ArrayLike) -> float:
    """McNemar's exact test of two accuracies on the same cases.

    Args:
        one: Predicted classes of one model, shape ``(n,)``.
        other: Of the other.
        labels: Shape ``(n,)``.

    Returns:
        Two-sided probability of so uneven a split of the cases that one model has right and the other wrong; 1 where
        there are none.
    """
    y = np.asarray(labels)
    right: tuple[NDArray[np.bool_], ...] = (np.asarray(one) == y, np.asarray(other) == y)
    first, second = int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum())
    if first + second == 0:
        return 1.0
    return float(need("scipy.stats", "bench").binomtest(first, first + second).pvalue)


def holm(p: ArrayLike) -> Floats:
    """Holm's correction of several tests (Scandinavian Journal of Statistics 6:65, 1979).

    Args:
        p: Shape ``(t,)``; NaN is no test and stays NaN.

    Returns:
        Corrected probabilities, shape ``(t,)``: what is below a level here may be claimed together at that level.

    Raises:
        ValueError: If one is not a probability.
    """
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 1 or ((values < 0) | (values > 1)).any():
        raise ValueError(f"holm expects probabilities of shape (t,), got {values}")
    out = np.full_like(values, np.nan)
    tests = np.flatnonzero(~np.isnan(values))
    order = tests[np.argsort(values[tests], kind="stable")]
    corrected = np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1))
    out[order] = np.minimum(corrected, 1.0)
    return out
