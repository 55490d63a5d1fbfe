"""Net benefit: what decisions by a model's probabilities are worth (Vickers and Elkin 2006).

At a threshold ``t`` a case is treated if its probability is at least ``t``. Whoever treats at ``t`` holds that one
missed positive weighs as much as ``(1 - t) / t`` cases treated in vain, so that the net benefit is
``TP / n - FP / n * t / (1 - t)``: the share of cases treated rightly, less the share treated in vain at that rate of
exchange. Treating none has 0.
"""

import numpy as np
from numpy.typing import NDArray

from mmfusion.metrics.ranking import Floats, cumulative, divide

THRESHOLDS = np.arange(1, 100) / 100
"""Thresholds at which net benefit is given."""


def net_benefit(scores: Floats, positive: NDArray[np.bool_], weights: Floats) -> Floats:
    """Net benefit over :data:`THRESHOLDS`.

    Args:
        scores: Shape ``(n,)``, probability of the class.
        positive: Shape ``(n,)``, whether a case is of it.
        weights: Shape ``(n, r)``, of the cases in each of ``r`` weightings.

    Returns:
        Shape ``(r, g)``, at most the prevalence; NaN where all weights are 0.
    """
    order = np.argsort(scores, kind="stable")
    total = weights[order]
    hits = np.where(positive[order, None], total, 0.0)
    # From each rank to the highest; nothing above the last.
    nothing = np.zeros((1, weights.shape[1]))
    above = [np.concatenate([cumulative(part[::-1])[::-1], nothing]) for part in (hits, total - hits)]
    first = np.searchsorted(scores[order], THRESHOLDS)
    odds = (THRESHOLDS / (1 - THRESHOLDS))[:, None]
    return divide(above[0][first] - above[1][first] * odds, total.sum(axis=0)).T


def treat_all(prevalence: float) -> Floats:
    """Net benefit of treating every case, over :data:`THRESHOLDS`; shape ``(g,)``."""
    return prevalence - (1 - prevalence) * THRESHOLDS / (1 - THRESHOLDS)


def useful_range(benefit: Floats, prevalence: float) -> tuple[float, float] | None:
    """The longest uninterrupted range of thresholds where net benefit is above that of treating all, and of none.

    Args:
        benefit: Shape ``(g,)``, over :data:`THRESHOLDS`.
        prevalence: Share of the class.

    Returns:
        Its first and last threshold; of equally long ones the lowest; None without one.
    """
    above = benefit > np.maximum(treat_all(prevalence), 0.0) + 1e-12
    ends = np.flatnonzero(np.diff(np.concatenate([[False], above, [False]]).astype(int))).reshape(-1, 2)
    if not len(ends):
        return None
    first, end = ends[np.argmax(ends[:, 1] - ends[:, 0])]
    return float(THRESHOLDS[first]), float(THRESHOLDS[end - 1])
