"""Metrics of a classification from probabilities, for many weightings of the cases at once.

Every function takes case weights of shape ``(r, n)``, one row a resample of a bootstrap, so that 2,000 resamples are
one call. A metric that is undefined for a row (one class only, say) is NaN there, never an error. Letters: n cases,
k classes, r weightings.

What each name means, beyond scikit-learn's definition of it:

=====================  =================================================================================
``auc``                binary: of class 1; more: macro one-versus-rest, over the classes where it is defined
``average_precision``  binary: of class 1; more: macro over the classes present
``sensitivity``        binary: at ``threshold`` on class 1; more: macro one-versus-rest of the likeliest class
``specificity``        likewise
``g_mean``             the square root of their product; more than two classes: macro of that of each class
``brier``              binary: ``(p_1 - y)^2``; more: summed over the classes
``ece``                15 equal-width bins of the likeliest class's probability
``accuracy_<class>``   the share of that class's cases that are found (its recall)
=====================  =================================================================================

All others judge the likeliest class.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmfusion.training.ranking import Floats, Order, divide, sums

ECE_BINS = 15
NAMES = (
    "auc",
    "average_precision",
    "accuracy",
    "balanced_accuracy",
    "f1_macro",
    "f1_weighted",
    "mcc",
    "sensitivity",
    "specificity",
    "g_mean",
    "brier",
    "ece",
    "log_loss",
)
"""All but the accuracy of each class, whose names depend on the data."""

LOWER_IS_BETTER = frozenset({"brier", "ece", "log_loss"})
BLOCK = 2_000_000
"""Numbers in the weights that are worked on at a time; bounds the memory to a few times 16 MB."""


def evaluate(
    probabilities: ArrayLike,
    labels: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    threshold: float = 0.5,
    names: Sequence[str] = (),
) -> dict[str, Floats]:
    """All metrics.

    Args:
        probabilities: Shape ``(n, k)``; rows sum to 1.
        labels: Shape ``(n,)``, class indices.
        weights: Shape ``(r, n)``, not negative; None: every case counts once, ``r = 1``.
        threshold: Two classes only: class 1 is called at this probability or above, for sensitivity, specificity and
            G-mean. Choose it on validation, with :func:`best_threshold`.
        names: Names of the classes, for ``accuracy_<class>``; indices where none are given.

    Returns:
        By metric, shape ``(r,)``.

    Raises:
        ValueError: If shapes do not fit, a probability is not finite, or a label is out of range.
    """
    prepared = Prepared(probabilities, labels, threshold=threshold, names=names)
    n = len(prepared)
    w = np.ones((1, n)) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.ndim != 2 or w.shape[1] != n:
        raise ValueError(f"weights expect shape (r, {n}), got {w.shape}")
    rows = max(1, BLOCK // n)
    blocks = [prepared(np.ascontiguousarray(w[at : at + rows].T)) for at in range(0, len(w), rows)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


class Prepared:
    """The predictions of one model, sorted and binned once for many calls.

    Args:
        probabilities: As for :func:`evaluate`.
        labels: As for :func:`evaluate`.
        threshold: As for :func:`evaluate`.
        names: As for :func:`evaluate`.

    Raises:
        ValueError: As :func:`evaluate`.
    """

    def __init__(
        self, probabilities: ArrayLike, labels: ArrayLike, *, threshold: float = 0.5, names: Sequence[str] = ()
    ) -> None:
        p, y = _checked(probabilities, labels)
        n, k = p.shape
        self._n, self._k = n, k
        self._names = [f"accuracy_{name}" for name in (names or range(k))]
        classes = [1] if k == 2 else range(k)
        self._orders = [Order(p[:, c], y == c) for c in classes]
        called, chosen = p.argmax(axis=1), p[np.arange(n), p.argmax(axis=1)]
        if k == 2:
            brier = (p[:, 1] - (y == 1)) ** 2
        else:
            brier = ((p - np.eye(k)[y]) ** 2).sum(axis=1)
        surprise = -np.log(np.clip(p[np.arange(n), y], np.finfo(np.float64).eps, 1.0))
        # Bins are open below and closed above, as in Guo et al. 2017, section 2.
        bins = np.clip(np.ceil(chosen * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
        # All of them are sums over the cases: what each is summed into, and what of it.
        one, cell = np.ones(n), y * 2 + (p[:, 1] >= threshold)
        parts = [
            (y * k + called, one, k * k),
            (bins, chosen - (called == y), ECE_BINS),
            (np.zeros(n, dtype=np.int64), brier, 1),
            (np.zeros(n, dtype=np.int64), surprise, 1),
            *([(cell, one, 4)] if k == 2 else []),
        ]
        self._ends = np.cumsum([size for _, _, size in parts])
        rows = np.concatenate([of + end - size for (of, _, size), end in zip(parts, self._ends)])
        values = np.concatenate([value for _, value, _ in parts])
        self._matrix = sums(rows, np.tile(np.arange(n), len(parts)), (int(self._ends[-1]), n), values)

    def __len__(self) -> int:
        return int(self._n)

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """All metrics.

        Args:
            weights: Shape ``(n, r)``, not negative, one column a resample; contiguous rows are fastest.

        Returns:
            By metric, shape ``(r,)``.
        """
        counts, gaps, brier, surprise, *cells = np.split(self._matrix @ weights, self._ends[:-1])
        confusion = np.moveaxis(counts.reshape(self._k, self._k, -1), -1, 0)
        total = weights.sum(axis=0)
        each = [order.rank(weights) for order in self._orders]
        out = {
            "auc": _mean_defined(np.stack([ranking.auc for ranking in each], axis=1)),
            "average_precision": _mean_defined(np.stack([ranking.average_precision for ranking in each], axis=1)),
        } | _from_confusion(confusion)
        if cells:
            at_threshold = np.moveaxis(cells[0].reshape(2, 2, -1), -1, 0)
            recalls = divide(np.diagonal(at_threshold, axis1=1, axis2=2), at_threshold.sum(axis=2))
            sensitivity, specificity = recalls[:, 1], recalls[:, 0]
            g_mean = np.sqrt(sensitivity * specificity)
            out |= {"sensitivity": sensitivity, "specificity": specificity, "g_mean": g_mean}
        recall = divide(np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(axis=2))
        return (
            out
            | dict(zip(self._names, recall.T))
            | {
                "brier": divide(brier[0], total),
                "ece": divide(np.abs(gaps).sum(axis=0), total),
                "log_loss": divide(surprise[0], total),
            }
        )


def best_threshold(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """The probability of class 1 that, as a threshold, has the greatest G-mean.

    Args:
        probabilities: Shape ``(n, 2)``, of validation cases.
        labels: Shape ``(n,)``, 0 or 1.

    Returns:
        Half-way between the two neighbouring probabilities, so that rounding cannot move a case across. 0.5 where a
        class is missing; the lowest of several that are as good.
    """
    p, y = _checked(probabilities, labels)
    scores, where = np.unique(p[:, 1], return_inverse=True)
    positives = np.bincount(where, y == 1, minlength=len(scores))
    negatives = np.bincount(where, y == 0, minlength=len(scores))
    if not positives.sum() or not negatives.sum():
        return 0.5
    sensitivity = 1 - (np.cumsum(positives) - positives) / positives.sum()
    specificity = (np.cumsum(negatives) - negatives) / negatives.sum()
    at = int(np.argmax(sensitivity * specificity))
    return float(scores[at] if at == 0 else (scores[at - 1] + scores[at]) / 2)


def _checked(probabilities: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    p = np.asarray(probabilities, dtype=np.float64)
    y = np.asarray(labels, dtype=np.int64)
    if p.ndim != 2 or y.shape != p.shape[:1] or p.shape[0] < 1 or p.shape[1] < 2:
        raise ValueError(
            "metrics expect probabilities (n, k) of at least 1 case and 2 classes and labels (n,), "
            f"got {p.shape} and {y.shape}"
        )
    if not np.isfinite(p).all():
        bad = int((~np.isfinite(p)).any(axis=1).sum())
        raise ValueError(f"metrics expect finite probabilities, those of {bad} out of {len(p)} cases are not")
    if y.min() < 0 or y.max() >= p.shape[1]:
        raise ValueError(f"labels expect indices in [0, {p.shape[1]}), got {y.min()} to {y.max()}")
    return p, y


def _from_confusion(confusion: Floats) -> dict[str, Floats]:
    """Metrics of counts ``(r, k, k)``; rows are truth, columns what was called."""
    hit = np.diagonal(confusion, axis1=1, axis2=2)
    truth, called = confusion.sum(axis=2), confusion.sum(axis=1)
    total = truth.sum(axis=1)
    recall = divide(hit, truth)
    specificity = divide(total[:, None] - truth - called + hit, total[:, None] - truth)
    f1 = divide(2 * hit, truth + called)
    share = divide(truth, total[:, None])
    covariance = hit.sum(axis=1) * total - (truth * called).sum(axis=1)
    spread = np.sqrt((total**2 - (called**2).sum(axis=1)) * (total**2 - (truth**2).sum(axis=1)))
    # One class only, or one called only: scikit-learn's convention is 0.
    mcc = np.divide(covariance, spread, out=np.zeros_like(spread), where=spread > 0)
    return {
        "accuracy": divide(hit.sum(axis=1), total),
        "balanced_accuracy": _mean_defined(recall),
        "f1_macro": _mean_defined(f1),
        "f1_weighted": np.where(total > 0, (share * np.nan_to_num(f1)).sum(axis=1), np.nan),
        "mcc": np.where(total > 0, mcc, np.nan),
        "sensitivity": _mean_defined(recall),
        "specificity": _mean_defined(specificity),
        "g_mean": _mean_defined(np.sqrt(recall * specificity)),
    }


def _mean_defined(values: Floats) -> Floats:
    """Mean over the last axis of what is not NaN; NaN where nothing is left."""
    defined = ~np.isnan(values)
    return divide(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1).astype(np.float64))


def reported(value: float) -> float | None:
    """A number as JSON has it: None for one that is not finite."""
    return float(value) if math.isfinite(value) else None
