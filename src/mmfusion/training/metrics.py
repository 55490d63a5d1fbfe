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

All others judge the likeliest class. ``average_precision_called``, of two classes and only where it is asked for, takes
the likeliest class in place of its probability, as some published code does by mistake.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmfusion.training.ranking import Floats, divide, rank

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
EXTRA = ("average_precision_called",)
"""What is computed only where it is asked for: for parity with published tables."""

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
    extra: Sequence[str] = (),
) -> dict[str, Floats]:
    """All metrics.

    Args:
        probabilities: Shape ``(n, k)``; rows sum to 1.
        labels: Shape ``(n,)``, class indices.
        weights: Shape ``(r, n)``, not negative; None: every case counts once, ``r = 1``.
        threshold: Two classes only: class 1 is called at this probability or above, for sensitivity, specificity and
            G-mean. Choose it on validation, with :func:`best_threshold`.
        names: Names of the classes, for ``accuracy_<class>``; indices where none are given.
        extra: Some of :data:`EXTRA` too.

    Returns:
        By metric, shape ``(r,)``.

    Raises:
        ValueError: If shapes do not fit, a probability is not finite, or a label is out of range.
    """
    p, y = _checked(probabilities, labels)
    w = np.ones((1, len(y))) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.ndim != 2 or w.shape[1] != len(y):
        raise ValueError(f"weights expect shape (r, {len(y)}), got {w.shape}")
    rows = max(1, BLOCK // len(y))
    if unknown := sorted(set(extra) - set(EXTRA)):
        raise ValueError(f"no metric {unknown[0]!r} beside those of every run; there are: {', '.join(EXTRA)}")
    if extra and p.shape[1] != 2:
        raise ValueError(f"{extra[0]} is defined for two classes, the probabilities are of {p.shape[1]}")
    blocks = [_evaluate(p, y, w[at : at + rows], threshold, names) for at in range(0, len(w), rows)]
    if extra:
        called = p.argmax(axis=1).astype(np.float64)
        ranks = [rank(called, y == 1, w[at : at + rows]) for at in range(0, len(w), rows)]
        for block, ranking in zip(blocks, ranks):
            block["average_precision_called"] = ranking.average_precision
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def split_metric(metric: str) -> tuple[str, ...]:
    """The names in a metric that is the mean of several, ``"auc+accuracy"``."""
    return tuple(name.strip() for name in metric.split("+"))


def metric_faults(metric: str) -> str:
    """What is wrong with a metric to choose by; empty: nothing."""
    parts = split_metric(metric)
    valid = (*NAMES, *EXTRA)
    unknown = [part for part in parts if part not in valid and not part.removeprefix("accuracy_").isdecimal()]
    if unknown:
        return f"expects one of {', '.join(valid)}, or several with + between, got {unknown[0]!r}"
    turned = [part for part in parts if part in LOWER_IS_BETTER]
    if turned and len(parts) > 1:
        return f"is the mean of several only of those where more is better, got {turned[0]!r} in {metric!r}"
    return ""


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


def _evaluate(p: Floats, y: NDArray[np.int64], w: Floats, threshold: float, names: Sequence[str]) -> dict[str, Floats]:
    k = p.shape[1]
    total = w.sum(axis=1)
    called = p.argmax(axis=1)
    confusion = (w @ np.eye(k * k)[y * k + called]).reshape(-1, k, k)
    out = _ranks(p, y, w) | _from_confusion(confusion)
    if k == 2:
        at_threshold = (w @ np.eye(4)[y * 2 + (p[:, 1] >= threshold)]).reshape(-1, 2, 2)
        recalls = divide(np.diagonal(at_threshold, axis1=1, axis2=2), at_threshold.sum(axis=2))
        sensitivity, specificity = recalls[:, 1], recalls[:, 0]
        out |= {"sensitivity": sensitivity, "specificity": specificity, "g_mean": np.sqrt(sensitivity * specificity)}
    recall = divide(np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(axis=2))
    for c in range(k):
        out[f"accuracy_{names[c] if names else c}"] = recall[:, c]
    return out | _calibration(p, y, called, w, total)


def _ranks(p: Floats, y: NDArray[np.int64], w: Floats) -> dict[str, Floats]:
    classes = [1] if p.shape[1] == 2 else range(p.shape[1])
    each = [rank(p[:, c], y == c, w) for c in classes]
    return {
        "auc": _mean_defined(np.stack([ranking.auc for ranking in each], axis=1)),
        "average_precision": _mean_defined(np.stack([ranking.average_precision for ranking in each], axis=1)),
    }


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


def _calibration(
    p: Floats, y: NDArray[np.int64], called: NDArray[np.int64], w: Floats, total: Floats
) -> dict[str, Floats]:
    n, k = p.shape
    if k == 2:
        brier = (p[:, 1] - (y == 1)) ** 2
    else:
        brier = ((p - np.eye(k)[y]) ** 2).sum(axis=1)
    surprise = -np.log(np.clip(p[np.arange(n), y], np.finfo(np.float64).eps, 1.0))
    confidence = p[np.arange(n), called]
    # Bins are open below and closed above, as in Guo et al. 2017, section 2.
    bins = np.clip(np.ceil(confidence * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
    gaps = w @ (np.eye(ECE_BINS)[bins] * (confidence - (called == y))[:, None])
    return {
        "brier": divide(w @ brier, total),
        "ece": divide(np.abs(gaps).sum(axis=1), total),
        "log_loss": divide(w @ surprise, total),
    }


def _mean_defined(values: Floats) -> Floats:
    """Mean over the last axis of what is not NaN; NaN where nothing is left."""
    defined = ~np.isnan(values)
    return divide(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1).astype(np.float64))


def reported(value: float) -> float | None:
    """A number as JSON has it: None for one that is not finite."""
    return float(value) if math.isfinite(value) else None
