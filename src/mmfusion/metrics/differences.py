"""Inference on a difference from its estimate, standard error and degrees of freedom: tests, equivalence, power."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mmfusion.utils.optional import need

LEAST_SPLITS = 3
"""Test sets that an interval over repeated splits needs: with two, Student's factor is 12.7."""
# Differences that are equal but for rounding have a variance of rounding errors alone.
_ROUNDING = 1e-12
POWER = 0.8
"""Power at which a difference counts as detectable."""


class Difference(NamedTuple):
    """A paired difference with its interval and test.

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


class Equivalence(NamedTuple):
    """Tests of a difference at a margin.

    Attributes:
        p_no_worse: One-sided, of a difference of ``-margin`` or below: non-inferiority.
        p_equal: The larger of two one-sided tests, of a difference of ``margin`` or more in either direction (TOST).
    """

    p_no_worse: float
    p_equal: float


def t_test(
    mean: float, error: float, degrees: float, *, level: float = 0.95, bounds: tuple[float, float] = (-1.0, 1.0)
) -> Difference:
    """Student's interval and two-sided test of a difference of 0.

    Args:
        mean: The estimated difference.
        error: Its standard error, not negative; 0: the difference cannot vary.
        degrees: Degrees of freedom, at least 1.
        level: Coverage of the interval, in (0, 1).
        bounds: The least and the greatest difference that the metric can have; the interval is cut there.

    Returns:
        All NaN but the mean where the error or the degrees are NaN. With an error of 0 the interval is the difference
        itself, and ``p`` is 1 for none.
    """
    if not (math.isfinite(mean) and math.isfinite(error) and degrees >= 1):
        return Difference(mean, math.nan, math.nan, math.nan)
    if error == 0:
        return Difference(mean, mean, mean, 1.0 if mean == 0 else 0.0)
    student = _student(degrees)
    reach = float(student.ppf((1 + level) / 2)) * error
    return Difference(mean, *within(mean, reach, bounds), float(2 * student.sf(abs(mean) / error)))


def equivalence(
    mean: float, error: float, degrees: float, margin: float, *, lower_is_better: bool = False
) -> Equivalence:
    """Non-inferiority and equivalence at a margin that was named beforehand.

    Args:
        mean: Estimated difference, method less reference.
        error: Its standard error.
        degrees: Degrees of freedom.
        margin: Positive, in the metric's own units.
        lower_is_better: Whether a negative difference is the better one.

    Returns:
        Probabilities; NaN where the error or the degrees are NaN.

    Raises:
        ValueError: If the margin is not positive and finite.
    """
    if not 0 < margin < math.inf:
        raise ValueError(f"margin expects a positive number, got {margin}")
    if not (math.isfinite(mean) and math.isfinite(error) and degrees >= 1):
        return Equivalence(math.nan, math.nan)
    above, below = _upper_tail(mean + margin, error, degrees), _upper_tail(margin - mean, error, degrees)
    return Equivalence(below if lower_is_better else above, max(above, below))


def detectable(error: float, degrees: float, *, alpha: float = 0.05, power: float = POWER) -> float:
    """The smallest true difference that the two-sided test at ``alpha`` finds with this power.

    ``(t_(1 - alpha/2) + t_power)`` standard errors, the usual approximation to the noncentral t.

    Args:
        error: Standard error of the estimated difference.
        degrees: Degrees of freedom.
        alpha: Level of the test; divide it by the number of tests for Holm's first step.
        power: In (0, 1).

    Returns:
        NaN where the error or the degrees are NaN.
    """
    if not (math.isfinite(error) and degrees >= 1):
        return math.nan
    student = _student(degrees)
    return float(student.ppf(1 - alpha / 2) + student.ppf(power)) * error


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
    student = _student(len(d) - 1)
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


def _upper_tail(distance: float, error: float, degrees: float) -> float:
    """One-sided probability of an estimate that is so far above 0."""
    if error == 0:
        return 0.0 if distance > 0 else 1.0
    return float(_student(degrees).sf(distance / error))


def _student(degrees: float) -> Any:
    return need("scipy.stats", "bench").t(degrees)


def independent_difference(
    first: tuple[float, float, float], second: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Difference of two estimates on other cases, with the interval that theirs imply (MOVER: Zou and Donner,
    Statistics in Medicine 27:1693, 2008).

    Args:
        first: Value, and the lower and upper end of its interval.
        second: Of the estimate that is subtracted.

    Returns:
        Difference, lower and upper end; NaN where an interval is unknown.
    """
    mean = first[0] - second[0]
    low = mean - math.hypot(first[0] - first[1], second[2] - second[0])
    high = mean + math.hypot(first[2] - first[0], second[0] - second[1])
    return mean, low, high
