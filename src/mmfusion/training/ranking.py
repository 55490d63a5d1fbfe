"""Metrics that depend on the order of the scores alone, for many weightings of the cases at once.

A bootstrap resample is a weighting: a case drawn twice weighs 2. The cases are therefore sorted once, and what is
left for each resample is a cumulative sum.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Ranking(NamedTuple):
    """Both metrics of one class against the rest.

    Attributes:
        auc: Shape ``(r,)``, area under the ROC curve; NaN where one side has no weight.
        average_precision: Shape ``(r,)``; NaN where the positives have no weight.
    """

    auc: Floats
    average_precision: Floats


def divide(numerator: Floats, denominator: Floats) -> Floats:
    """Quotient, NaN where the denominator is 0; shapes broadcast."""
    out: Floats = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    np.divide(numerator, denominator, out=out, where=denominator != 0)
    return out


def rank(scores: Floats, positive: NDArray[np.bool_], weights: Floats) -> Ranking:
    """AUC and average precision of one score, with ties counted exactly.

    A tie between a positive and a negative counts one half for the AUC; for the average precision all cases of one
    score enter together, and the precision is a step function, not interpolated.

    Args:
        scores: Shape ``(n,)``; higher speaks for positive.
        positive: Shape ``(n,)``.
        weights: Shape ``(r, n)``, not negative; one row a resample.

    Returns:
        Each metric for each row of the weights.
    """
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    total = weights[:, order]
    hits = np.where(positive[order], total, 0.0)
    if len(starts) < len(scores):
        total = np.add.reduceat(total, starts, axis=1)
        hits = np.add.reduceat(hits, starts, axis=1)
    n_positive = hits.sum(axis=1)
    misses = total - hits
    below = np.cumsum(misses, axis=1) - 0.5 * misses
    auc = divide(np.einsum("rn,rn->r", hits, below), n_positive * misses.sum(axis=1))
    # From the highest score down: what is at or above each score.
    hits_above = np.cumsum(hits[:, ::-1], axis=1)[:, ::-1]
    total_above = np.cumsum(total[:, ::-1], axis=1)[:, ::-1]
    precision = np.divide(hits_above, total_above, out=np.zeros_like(total_above), where=total_above > 0)
    return Ranking(auc, divide(np.einsum("rn,rn->r", hits, precision), n_positive))
