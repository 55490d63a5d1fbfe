"""Metrics that depend on the order of the scores alone, for many weightings of the cases at once.

A bootstrap resample is a weighting: a case drawn twice weighs 2. The cases are therefore sorted once. What both metrics
need of a resample is the weight of the negatives between one positive's score and the next, which is a sum of the
weights of fixed cases: one product with a sparse matrix of ones for all resamples. What is left is a cumulative sum
over the positives.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmfusion.utils.optional import need

Floats = NDArray[np.float64]
_FEW = 32
"""Resamples below which numpy's own cumulative sum is the faster."""


class Ranking(NamedTuple):
    """Both metrics of one class against the rest.

    Attributes:
        auc: Shape ``(r,)``, area under the ROC curve; NaN where one side has no weight.
        average_precision: Shape ``(r,)``; NaN likewise. Without negatives it would be 1 whatever the scores are, which
            says nothing of them.
    """

    auc: Floats
    average_precision: Floats


def divide(numerator: Floats, denominator: Floats) -> Floats:
    """Quotient, NaN where the denominator is 0; shapes broadcast."""
    out: Floats = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    np.divide(numerator, denominator, out=out, where=denominator != 0)
    return out


def sums(rows: NDArray[np.intp], cases: NDArray[np.intp], shape: tuple[int, int], values: Floats | None = None) -> Any:
    """A sparse matrix that sums weights of cases: its product with weights ``(n, r)`` has shape ``(rows, r)``.

    Args:
        rows: Shape ``(e,)``, the sum that each entry belongs to.
        cases: Shape ``(e,)``, the case of each entry.
        shape: Number of sums and of cases.
        values: Shape ``(e,)``, by which the weights are multiplied; None: 1.
    """
    ones = np.ones(len(rows)) if values is None else values
    return need("scipy.sparse", "bench").csr_array((ones, (rows, cases)), shape=shape)


class Order:
    """Cases sorted by one score, with ties counted exactly.

    A tie between a positive and a negative counts one half for the AUC; for the average precision all cases of one
    score enter together, and the precision is a step function, not interpolated.

    Args:
        scores: Shape ``(n,)``; higher speaks for positive.
        positive: Shape ``(n,)``.
    """

    def __init__(self, scores: Floats, positive: NDArray[np.bool_]) -> None:
        # Steps are the different scores of positives, from the highest down: -s rises.
        steps, of_hit = np.unique(-scores[positive], return_inverse=True)
        n_steps, misses = len(steps), np.flatnonzero(~positive)
        # A negative enters at the first step that is not above it, or below all of them.
        enters = np.searchsorted(steps, -scores[misses], side="left")
        tied = np.flatnonzero(np.append(steps, np.nan)[enters] == -scores[misses])
        self._tied, of_tie = np.unique(enters[tied], return_inverse=True)
        self._steps = n_steps
        rows = [of_hit, n_steps + enters, 2 * n_steps + 1 + of_tie]
        cases = [np.flatnonzero(positive), misses, misses[tied]]
        n_rows = 2 * n_steps + 1 + len(self._tied)
        self._matrix = sums(np.concatenate(rows), np.concatenate(cases), (n_rows, len(scores)))

    def rank(self, weights: Floats) -> Ranking:
        """Both metrics.

        Args:
            weights: Shape ``(n, r)``, not negative, one column a resample; contiguous rows are fastest.

        Returns:
            Each metric for each column of the weights.
        """
        n, sums = self._steps, self._matrix @ weights
        if not n:
            nothing = np.full(weights.shape[1], np.nan)
            return Ranking(nothing, nothing)
        hits, misses, tied = sums[:n], sums[n : 2 * n + 1], sums[2 * n + 1 :]
        misses_above, hits_above = cumulative(misses), cumulative(hits)
        n_hits, n_misses = hits_above[-1].copy(), misses_above[-1]
        misses_above = misses_above[:-1]
        # Pairs that are wrong, and half of those that are ties.
        wrong = np.einsum("gr,gr->r", hits, misses_above) - 0.5 * np.einsum("gr,gr->r", hits[self._tied], tied)
        auc = divide(n_hits * n_misses - wrong, n_hits * n_misses)
        above = np.add(misses_above, hits_above, out=misses_above)
        precision = np.divide(hits_above, above, out=hits_above, where=above > 0)
        # Among positives alone every precision is 1.
        judged = np.where(n_misses > 0, n_hits, 0.0)
        return Ranking(auc, divide(np.einsum("gr,gr->r", hits, precision), judged))


def rank(scores: Floats, positive: NDArray[np.bool_], weights: Floats) -> Ranking:
    """AUC and average precision of one score, see :class:`Order`.

    Args:
        scores: Shape ``(n,)``; higher speaks for positive.
        positive: Shape ``(n,)``.
        weights: Shape ``(r, n)``, not negative; one row a resample.

    Returns:
        Each metric for each row of the weights.
    """
    return Order(scores, positive).rank(np.ascontiguousarray(weights.T))


def cumulative(values: Floats) -> Floats:
    """Cumulative sum along the first axis. Row by row, as numpy's own goes against the memory there."""
    if values.shape[1] < _FEW:
        return np.cumsum(values, axis=0)
    out = np.empty_like(values)
    out[0] = values[0]
    for row in range(1, len(values)):
        np.add(out[row - 1], values[row], out=out[row])
    return out
