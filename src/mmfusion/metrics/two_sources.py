"""Standard error of a mean over training runs, from both of its sources: other test cases and other training runs.

Over ``S`` runs on the same test cases (seeds of one method, or paired differences of two) the values are
``x_s = mean + a + b_s + c_s``: ``a`` is the noise of the test cases that all runs share, ``b_s`` the effect of the
training run, ``c_s`` the noise of the test cases that is specific to the run. The case variance ``V`` of the mean holds
``a`` and ``c``, the variance between the runs holds ``b`` and ``c``, so that ``c``, counted twice, is taken out once:

    SE^2 = V + s^2 / S - (mean of V_s - V) / (S - 1), not below V.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mmfusion.metrics.ranking import Floats

LEAST_SEEDS = 5
"""Training runs that a verdict on methods needs."""
LEAST_DEFINED = 0.5
"""Share of the resamples that must define a metric for it to have an interval."""


class StandardError(NamedTuple):
    """Standard error of a mean, with its degrees of freedom; NaN where they are unknown.

    Attributes:
        error: From both sources; of a single run from the test cases alone.
        degrees: Degrees of freedom of Student's t.
        cases: The part from the test cases, ``sqrt(V)``.
    """

    error: Floats
    degrees: Floats
    cases: Floats


def two_source_error(
    values: ArrayLike, variance_of_mean: ArrayLike, mean_variance: ArrayLike, case_degrees: ArrayLike
) -> StandardError:
    """Standard error of the mean over runs on the same test cases.

    Args:
        values: Shape ``(s, ...)``, one per run.
        variance_of_mean: Shape ``(...)``, case variance ``V`` of the mean over the runs.
        mean_variance: Shape ``(...)``, mean over the runs of the case variance ``V_s`` of each.
        case_degrees: Degrees of freedom of the case variance: groups of cases, less 1.

    Returns:
        Each of shape ``(...)``. All NaN where a value or variance is not finite, or where ``case_degrees`` is below 1,
        as for a single group; an error of 0 has the degrees of the cases. Degrees are 1 at least.

    Raises:
        ValueError: If there is no run, or a variance is negative.
    """
    x = np.asarray(values, dtype=np.float64)
    v, each = np.asarray(variance_of_mean, dtype=np.float64), np.asarray(mean_variance, dtype=np.float64)
    if x.ndim < 1 or not len(x):
        raise ValueError(f"two_source_error expects values of at least one run, got shape {x.shape}")
    if (v < 0).any() or (each < 0).any():
        raise ValueError("two_source_error expects variances that are not negative")
    n, degrees = len(x), np.asarray(case_degrees, dtype=np.float64) + 0 * v
    square, between = v.copy(), np.zeros_like(v)
    if n > 1:
        between = x.var(axis=0, ddof=1) / n
        square = np.maximum(v, v + between - (each - v) / (n - 1))
    known = np.isfinite(x).all(axis=0) & np.isfinite(square) & (degrees >= 1)
    spread = np.where(known, v**2 / np.where(known, degrees, 1.0), np.nan)
    if n > 1:
        spread = spread + between**2 / (n - 1)
    nu = np.divide(square**2, spread, out=np.array(degrees), where=known & (spread > 0))
    return StandardError(
        np.where(known, np.sqrt(np.where(known, square, 0.0)), np.nan),
        np.where(known, np.maximum(nu, 1.0), np.nan),
        np.where(known, np.sqrt(np.where(known, v, 0.0)), np.nan),
    )


def resampled_error(values: ArrayLike, drawn: ArrayLike, case_degrees: float) -> StandardError:
    """The same with the case variances of a bootstrap, in which all runs have the same resamples.

    Args:
        values: Shape ``(s,)``, one per run.
        drawn: Shape ``(s, r)``, of each run on each resample; NaN where it is undefined.
        case_degrees: As for :func:`two_source_error`.

    Returns:
        NaN where fewer than half of the resamples define all runs, see
        :data:`LEAST_DEFINED`.
    """
    of_mean, of_single = case_variances(drawn)
    return two_source_error(values, of_mean, of_single, case_degrees)


def case_variances(drawn: ArrayLike) -> tuple[float, float]:
    """Case variance of the mean over the runs, and the mean over the runs of that of each.

    Args:
        drawn: As for :func:`resampled_error`.
    """
    d = np.asarray(drawn, dtype=np.float64)
    defined = np.isfinite(d).all(axis=0)
    if defined.sum() < max(2, LEAST_DEFINED * d.shape[1]):
        return np.nan, np.nan
    if not defined.all():
        d = d[:, defined]
    return float(d.mean(axis=0).var(ddof=1)), float(d.var(axis=1, ddof=1).mean())
