"""ROC, precision-recall and risk-coverage curves on one grid, for many weightings at once, and pointwise bands."""

import numpy as np
from numpy.typing import NDArray

from mmfusion.metrics.ranking import Floats, cumulative, divide

GRID = np.linspace(0.0, 1.0, 101)
"""False positive rates, recalls, or coverages at which curves are given."""


def roc_curve(scores: Floats, positive: NDArray[np.bool_], weights: Floats) -> tuple[Floats, float]:
    """True positive rate over :data:`GRID`, and the area under the curve.

    Args:
        scores: Shape ``(n,)``.
        positive: Shape ``(n,)``.
        weights: Shape ``(n, r)``, of the cases in each of ``r`` weightings; the first one's area is given.

    Returns:
        Shape ``(r, g)``, NaN where a class has no weight; and the area.
    """
    hits, misses = _cumulative(scores, positive, weights)
    nothing = np.zeros((1, weights.shape[1]))
    tpr, fpr = (
        np.concatenate([nothing, divide(hits, hits[-1:])]),
        np.concatenate([nothing, divide(misses, misses[-1:])]),
    )
    out = np.stack([np.interp(GRID, x, y) for x, y in zip(fpr.T, tpr.T)])
    # Where a side has no weight there is no curve.
    out[~np.isfinite(tpr[-1] + fpr[-1])] = np.nan
    return out, float(np.trapezoid(tpr[:, 0], fpr[:, 0]))


def precision_recall_curve(scores: Floats, positive: NDArray[np.bool_], weights: Floats) -> tuple[Floats, float]:
    """Precision over :data:`GRID` of the recall, and the average precision; arguments as of :func:`roc_curve`."""
    hits, misses = _cumulative(scores, positive, weights)
    recall, precision = divide(hits, hits[-1:]), divide(hits, hits + misses)
    # What is reached with at least that recall; at 0 with the first hit.
    wanted = np.maximum(GRID, np.finfo(np.float64).tiny) - 1e-12 * (GRID > 0)
    out = np.full((weights.shape[1], len(GRID)), np.nan)
    for column in np.flatnonzero((hits[-1] > 0) & (misses[-1] > 0)):
        places = np.searchsorted(recall[:, column], wanted)
        out[column] = precision[np.minimum(places, len(recall) - 1), column]
    gained = np.diff(recall[:, 0], prepend=0.0)
    judged = hits[-1, 0] > 0 and misses[-1, 0] > 0
    return out, float(np.where(gained > 0, gained * precision[:, 0], 0.0).sum() if judged else np.nan)


def risk_coverage_curve(confidence: Floats, wrong: NDArray[np.bool_], weights: Floats) -> tuple[Floats, float]:
    """Share of wrong decisions among the most confident cases, over :data:`GRID` of the share that is decided.

    Cases of one confidence are decided together, so that the risk at a coverage is that of the next larger one.

    Args:
        confidence: Shape ``(n,)``; the least confident cases are left undecided first.
        wrong: Shape ``(n,)``, whether the decision on a case is wrong.
        weights: Shape ``(n, r)``, of the cases in each of ``r`` weightings; the first one's area is given.

    Returns:
        Risk, shape ``(r, g)``, NaN where nothing has weight; and the mean risk over all coverages.
    """
    errors, others = _cumulative(confidence, wrong, weights)
    decided = errors + others
    coverage, risk = divide(decided, decided[-1:]), divide(errors, decided)
    wanted = np.maximum(GRID, np.finfo(np.float64).tiny) - 1e-12 * (GRID > 0)
    out = np.full((weights.shape[1], len(GRID)), np.nan)
    for column in np.flatnonzero(decided[-1] > 0):
        places = np.searchsorted(coverage[:, column], wanted)
        out[column] = risk[np.minimum(places, len(risk) - 1), column]
    gained = np.diff(coverage[:, 0], prepend=0.0)
    return out, float(np.where(gained > 0, gained * risk[:, 0], 0.0).sum() if decided[-1, 0] > 0 else np.nan)


def _cumulative(scores: Floats, positive: NDArray[np.bool_], weights: Floats) -> tuple[Floats, Floats]:
    """Hits and misses at or above each different score, from the highest down; shape ``(steps, r)``."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    total = weights[order]
    hits = np.where(positive[order, None], total, 0.0)
    return cumulative(hits)[ends], cumulative(total - hits)[ends]


def pointwise_band(drawn: Floats, level: float) -> tuple[Floats, Floats]:
    """Pointwise percentiles over the first axis, of what is defined.

    Args:
        drawn: Shape ``(r, g)``.
        level: Coverage at each place of the grid, in (0, 1).

    Returns:
        Lower and upper edge, each of shape ``(g,)``; NaN where nothing is defined.
    """
    ends = np.full((2, drawn.shape[1]), np.nan)
    defined, levels = np.isfinite(drawn), [(1 - level) / 2, (1 + level) / 2]
    whole = defined.all(axis=0)
    if whole.any():
        ends[:, whole] = np.quantile(drawn[:, whole], levels, axis=0)
    if (part := defined.any(axis=0) & ~whole).any():  # many times as slow
        ends[:, part] = np.nanquantile(drawn[:, part], levels, axis=0)
    return ends[0], ends[1]
