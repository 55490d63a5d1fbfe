"""Calibration intercept and slope: how probabilities would have to be changed to fit other cases.

Of the log odds ``x`` of a class, ``logit P = a + b x`` is fitted by logistic regression; ``b`` is the slope, and the
intercept is ``a`` with ``b = 1`` ("calibration in the large"). A slope below 1: probabilities are too extreme. An
intercept above 0: the class is more frequent than predicted (Van Calster et al., BMC Medicine 17:230, 2019).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmfusion.metrics.cases import TestCases
from mmfusion.metrics.intervals import Estimate
from mmfusion.metrics.ranking import Floats
from mmfusion.utils.optional import need

FEWEST = 10
"""Groups of cases, of the class and of the rest, that an interval needs: it then covers 92 to 99% in simulations."""

_STEPS, _CLOSE = 60, 1e-8
_ROUNDING = 1e-9
_STEEPEST = 50.0
"""A slope beyond it has no end: the class is separated from the rest."""
_UNKNOWN = Estimate(np.nan, np.nan, np.nan, np.nan)


class Recalibration(NamedTuple):
    """Intercept and slope, each with its interval.

    Attributes:
        intercept: In log odds, at a slope of 1; 0 where the class is as frequent as predicted.
        slope: 1 where probabilities are as extreme as they should be; NaN where the class is separated from the rest,
            or all its probabilities are equal.
    """

    intercept: Estimate
    slope: Estimate


def recalibration(
    probabilities: Floats, positive: NDArray[np.bool_], groups: Sequence[str] | None = None, *, level: float = 0.95
) -> Recalibration:
    """Intercept and slope of one class.

    Args:
        probabilities: Shape ``(n,)``, of the class.
        positive: Shape ``(n,)``, whether a case is of it.
        groups: Patient or lesion of each case; None: each case by itself.
        level: Coverage of the intervals, in (0, 1). They are Student's with the variance that is robust to groups, and
            need :data:`FEWEST` groups of either kind.

    Returns:
        Both NaN where there are only cases of the class, or none.
    """
    cases = TestCases.of(positive, groups, 2)
    if positive.all() or not positive.any():
        return Recalibration(_UNKNOWN, _UNKNOWN)
    edge = np.finfo(np.float64).eps
    p = np.clip(probabilities, edge, 1 - edge)
    odds = np.log(p) - np.log1p(-p)
    ones = np.ones((len(odds), 1))
    y = positive.astype(np.float64)
    intercept = _fitted(ones, odds, y, cases, level)[0]
    if np.ptp(odds) < _CLOSE:
        return Recalibration(intercept, _UNKNOWN)
    slope = _fitted(np.column_stack([ones, odds]), np.zeros(len(odds)), y, cases, level)[1]
    return Recalibration(intercept, slope if abs(slope.value) < _STEEPEST else _UNKNOWN)


def _fitted(x: Floats, offset: Floats, y: Floats, cases: TestCases, level: float) -> list[Estimate]:
    """Coefficients of a logistic regression by Newton's method, halved where a step overshoots."""
    beta = np.zeros(x.shape[1])

    def loss(b: Floats) -> float:
        z = offset + x @ b
        return float((np.logaddexp(0, z) - y * z).sum())

    information = np.eye(x.shape[1])
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(offset + x @ beta, -700, 700)))
        information = x.T @ (x * (p * (1 - p))[:, None])
        try:
            step = np.linalg.solve(information, x.T @ (y - p))
        except np.linalg.LinAlgError:
            return [_UNKNOWN] * len(beta)
        size = 1.0
        # Rounding near the optimum is no overshooting.
        while loss(beta + size * step) > loss(beta) + _ROUNDING and size > _CLOSE:
            size /= 2
        beta = beta + size * step
        if np.abs(step).max() < _CLOSE:
            break
    else:
        return [_UNKNOWN] * len(beta)
    values = [float(value) for value in beta]
    groups = cases.n_groups
    if cases.smallest < FEWEST or groups <= len(beta):
        return [Estimate(value, np.nan, np.nan, np.nan) for value in values]
    # Robust to groups: the scores of a group's cases are summed before they are squared.
    scores = np.zeros((groups, len(beta)))
    np.add.at(scores, cases.groups, x * (y - p)[:, None])
    bread = np.linalg.inv(information)
    errors = np.sqrt(np.diag(bread @ (scores.T @ scores) @ bread) * groups / (groups - len(beta)))
    reach = float(need("scipy.stats", "bench").t.ppf((1 + level) / 2, cases.smallest - 1))
    return [
        Estimate(value, value - reach * error, value + reach * error, error)
        for value, error in zip(values, errors.tolist())
    ]
