"""The metrics of one model's predictions for many weightings of the cases: sorted and binned once, called often.

Weights have shape ``(n, r)`` here, one column a resample; contiguous rows are fastest. Definitions are those of
:mod:`mmfusion.metrics.classification`. All counts and sums over cases are one product with a sparse matrix.
"""

from collections.abc import Sequence

import numpy as np

from mmfusion.metrics.calibration_error import Labels
from mmfusion.metrics.ranking import Floats, Order, divide, sums


class Ranks:
    """AUC and average precision.

    Args:
        p: Probabilities, shape ``(n, k)``.
        y: Labels, shape ``(n,)``.
    """

    def __init__(self, p: Floats, y: Labels) -> None:
        classes = [1] if p.shape[1] == 2 else range(p.shape[1])
        self._orders = [Order(p[:, c], y == c) for c in classes]

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """By metric, shape ``(r,)``."""
        each = [order.rank(weights) for order in self._orders]
        return {
            "auc": mean_defined(np.stack([ranking.auc for ranking in each], axis=1)),
            "average_precision": mean_defined(np.stack([ranking.average_precision for ranking in each], axis=1)),
        }


class Called:
    """Average precision of the called class in place of its probability; two classes.

    Args:
        p: Probabilities, shape ``(n, 2)``.
        y: Labels, shape ``(n,)``.
    """

    def __init__(self, p: Floats, y: Labels) -> None:
        self._order = Order(p.argmax(axis=1).astype(np.float64), y == 1)

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """By metric, shape ``(r,)``."""
        return {"average_precision_called": self._order.rank(weights).average_precision}


class Counts:
    """All that the called classes tell.

    Args:
        p: Probabilities, shape ``(n, k)``.
        y: Labels, shape ``(n,)``.
        threshold: On class 1 of two.
        names: Of the classes; indices where none are given.
    """

    def __init__(self, p: Floats, y: Labels, threshold: float, names: Sequence[str] = ()) -> None:
        n, k = p.shape
        self._k = k
        self._names = [f"accuracy_{name}" for name in (names or range(k))]
        cells = [y * k + p.argmax(axis=1)]
        if k == 2:
            cells.append(4 + y * 2 + (p[:, 1] >= threshold))
        self._matrix = sums(np.concatenate(cells), np.tile(np.arange(n), len(cells)), (k * k * len(cells), n))

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """By metric, shape ``(r,)``."""
        k = self._k
        confusion, *at_threshold = np.moveaxis((self._matrix @ weights).reshape(-1, k, k, weights.shape[1]), -1, 1)
        out = _from_confusion(confusion)
        for counts in at_threshold:
            recalls = divide(np.diagonal(counts, axis1=1, axis2=2), counts.sum(axis=2))
            sensitivity, specificity = recalls[:, 1], recalls[:, 0]
            g_mean = np.sqrt(sensitivity * specificity)
            out |= {"sensitivity": sensitivity, "specificity": specificity, "g_mean": g_mean}
        recall = divide(np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(axis=2))
        return out | dict(zip(self._names, recall.T))


class Calibration:
    """Brier score and log loss.

    Args:
        p: Probabilities, shape ``(n, k)``.
        y: Labels, shape ``(n,)``.
    """

    def __init__(self, p: Floats, y: Labels) -> None:
        n, k = p.shape
        if k == 2:
            brier = (p[:, 1] - (y == 1)) ** 2
        else:
            brier = ((p - np.eye(k)[y]) ** 2).sum(axis=1)
        surprise = -np.log(np.clip(p[np.arange(n), y], np.finfo(np.float64).eps, 1.0))
        self._losses = np.stack([brier, surprise])

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """By metric, shape ``(r,)``."""
        brier, log_loss = divide(self._losses @ weights, weights.sum(axis=0))
        return {"brier": brier, "log_loss": log_loss}


def mean_defined(values: Floats) -> Floats:
    """Mean over the last axis of what is not NaN; NaN where nothing is left."""
    defined = ~np.isnan(values)
    return divide(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1).astype(np.float64))


def _from_confusion(confusion: Floats) -> dict[str, Floats]:
    """Metrics of counts ``(r, k, k)``; rows are truth, columns what was called.

    Means over classes are over those that have cases, where there are two at least.
    """
    hit = np.diagonal(confusion, axis1=1, axis2=2)
    truth, called = confusion.sum(axis=2), confusion.sum(axis=1)
    total = truth.sum(axis=1)
    # Of one class alone every class lacks cases or a rest, and no metric of one against the other is left.
    several = (truth > 0).sum(axis=1) > 1
    judged = np.where((truth > 0) & several[:, None], truth, 0.0)
    rest = np.where(judged > 0, total[:, None] - truth, 0.0)
    recall = divide(hit, judged)
    specificity = divide(rest - called + hit, rest)
    f1 = divide(2 * hit, np.where(judged > 0, truth + called, 0.0))
    share = divide(truth, total[:, None])
    covariance = hit.sum(axis=1) * total - (truth * called).sum(axis=1)
    spread = np.sqrt((total**2 - (called**2).sum(axis=1)) * (total**2 - (truth**2).sum(axis=1)))
    # 0/0 where one class is called only: 0, what a coin has, lest a run that learned nothing drop out of a mean.
    mcc = np.clip(np.divide(covariance, spread, out=np.zeros_like(spread), where=spread > 0), -1.0, 1.0)
    return {
        "accuracy": divide(hit.sum(axis=1), total),
        "balanced_accuracy": mean_defined(recall),
        "f1_macro": mean_defined(f1),
        "f1_weighted": np.where(several, (share * np.nan_to_num(f1)).sum(axis=1), np.nan),
        "mcc": np.where(several, mcc, np.nan),
        "sensitivity": mean_defined(recall),
        "specificity": mean_defined(specificity),
        "g_mean": mean_defined(np.sqrt(recall * specificity)),
    }
