"""Metrics of a classification from probabilities, for many weightings of the cases at once.

Every function takes case weights of shape ``(r, n)``, one row a resample of a bootstrap, so that 2,000 resamples are
one call. A metric that is undefined for a row (one class only, say) is NaN there, never an error and never a number
that flatters. Letters: n cases, k classes, r weightings.

What each name means, beyond scikit-learn's definition of it:

=====================  =================================================================================
``auc``                binary: of class 1; more: macro one-versus-rest
``average_precision``  binary: of class 1; more: macro one-versus-rest
``sensitivity``        binary: at ``threshold`` on class 1; more: macro one-versus-rest of the likeliest class
``specificity``        likewise
``g_mean``             the square root of their product; more than two classes: macro of that of each class
``mcc``                0 where one class only is called
``brier``              binary: ``(p_1 - y)^2``; more: summed over the classes
``ece``                15 equal-width bins of the likeliest class's probability, debiased: see
                       :class:`~mmfusion.metrics.calibration_error.CalibrationError`
``accuracy_<class>``   the share of that class's cases that are found (its recall)
=====================  =================================================================================

All others judge the likeliest class. Of cases of one class alone there are only accuracy, that class's own accuracy,
the sensitivity or the specificity of two classes, Brier score, ECE and log loss; a class without cases has no accuracy,
and macro means are over the classes that have cases. ``average_precision_called``, of two classes and only where it is
asked for, takes the likeliest class in place of its probability, as some published code does by mistake.

``ece`` has no interval: :data:`WITHOUT_INTERVAL`. Where calibration decides, Brier score and log loss have one.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmfusion.metrics.calibration_error import CalibrationError
from mmfusion.metrics.ranking import Floats
from mmfusion.metrics.weighted import Calibration, Called, Counts, Ranks

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

_EACH = "accuracy_*"
SETS: Mapping[str, tuple[str, ...]] = {
    "derm7pt": (
        "sensitivity",
        "specificity",
        "accuracy",
        "g_mean",
        "balanced_accuracy",
        "average_precision",
        "auc",
    ),
    "men": ("accuracy", _EACH, "f1_weighted", "f1_macro", "auc"),
}
"""The metrics that CFCML's paper (arXiv 2603.20016) reports, by its dataset; ``accuracy_*`` stands for the accuracy of
each class, see :func:`metric_set`."""

WITHOUT_INTERVAL = frozenset({"ece"})
"""Metrics that no method gives an interval of the stated coverage; their differences are not tested."""
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
    p, y = checked(probabilities, labels)
    return _in_blocks(Prepared(p, y, threshold=threshold, names=names, extra=extra), len(y), weights)


def ranks(probabilities: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> dict[str, Floats]:
    """AUC and average precision alone; arguments and errors as of :func:`evaluate`."""
    p, y = checked(probabilities, labels)
    return _in_blocks(Ranks(p, y), len(y), weights)


def calibration(probabilities: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> dict[str, Floats]:
    """Brier score, ECE and log loss alone; arguments and errors as of :func:`evaluate`."""
    p, y = checked(probabilities, labels)
    return _in_blocks(PreparedCalibration(p, y), len(y), weights)


class Prepared:
    """All metrics of one model, sorted and binned once for many calls.

    Args:
        probabilities: As for :func:`evaluate`.
        labels: As for :func:`evaluate`.
        threshold: As for :func:`evaluate`.
        names: As for :func:`evaluate`.
        extra: As for :func:`evaluate`.

    Raises:
        ValueError: As :func:`evaluate`.
    """

    def __init__(
        self,
        probabilities: ArrayLike,
        labels: ArrayLike,
        *,
        threshold: float = 0.5,
        names: Sequence[str] = (),
        extra: Sequence[str] = (),
    ) -> None:
        p, y = checked(probabilities, labels)
        if unknown := sorted(set(extra) - set(EXTRA)):
            raise ValueError(f"unknown extra metric {unknown[0]!r}; expected one of: {', '.join(EXTRA)}")
        if extra and p.shape[1] != 2:
            raise ValueError(f"{extra[0]} is defined for two classes, the probabilities are of {p.shape[1]}")
        self._judged: list[Callable[[Floats], dict[str, Floats]]] = [Ranks(p, y), Counts(p, y, threshold, names)]
        self._calibration = PreparedCalibration(p, y)
        self._extra = Called(p, y) if extra else None

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """All metrics.

        Args:
            weights: Shape ``(n, r)``, not negative, one column a resample; contiguous rows are fastest.

        Returns:
            By metric, shape ``(r,)``.
        """
        return self._all(weights, self._calibration)

    def resampled(self, weights: Floats) -> dict[str, Floats]:
        """All but :data:`WITHOUT_INTERVAL`, for the resamples of a bootstrap; arguments as of a call."""
        return self._all(weights, self._calibration.resampled)

    def _all(self, weights: Floats, calibration: Callable[[Floats], dict[str, Floats]]) -> dict[str, Floats]:
        parts = [*self._judged, calibration]
        if self._extra is not None:
            parts.append(self._extra)
        return {name: value for part in parts for name, value in part(weights).items()}


class PreparedCalibration:
    """Brier score, ECE and log loss of one model, binned once for many calls.

    Args:
        probabilities: As for :func:`evaluate`.
        labels: As for :func:`evaluate`.

    Raises:
        ValueError: As :func:`evaluate`.
    """

    def __init__(self, probabilities: ArrayLike, labels: ArrayLike) -> None:
        p, y = checked(probabilities, labels)
        self._losses, self._error = Calibration(p, y), CalibrationError(p.max(axis=1), p.argmax(axis=1) == y)

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """All three; arguments as of :class:`Prepared`."""
        losses = self._losses(weights)
        return {"brier": losses["brier"], "ece": self._error(weights), "log_loss": losses["log_loss"]}

    def resampled(self, weights: Floats) -> dict[str, Floats]:
        """Without the ECE, for the resamples of a bootstrap."""
        return self._losses(weights)


def metric_set(name: str, classes: Sequence[str]) -> tuple[str, ...]:
    """The names of one of :data:`SETS`, with those of the classes.

    Args:
        name: Of the set.
        classes: Names of the classes, in their order.

    Raises:
        ValueError: If there is no such set.
    """
    if name not in SETS:
        raise ValueError(f"unknown set of metrics {name!r}; expected one of: {', '.join(SETS)}")
    each = [f"accuracy_{name}" for name in classes]
    return tuple(metric for entry in SETS[name] for metric in (each if entry == _EACH else [entry]))


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
    p, y = checked(probabilities, labels)
    scores, where = np.unique(p[:, 1], return_inverse=True)
    positives = np.bincount(where, y == 1, minlength=len(scores))
    negatives = np.bincount(where, y == 0, minlength=len(scores))
    if not positives.sum() or not negatives.sum():
        return 0.5
    sensitivity = 1 - (np.cumsum(positives) - positives) / positives.sum()
    specificity = (np.cumsum(negatives) - negatives) / negatives.sum()
    at = int(np.argmax(sensitivity * specificity))
    return float(scores[at] if at == 0 else (scores[at - 1] + scores[at]) / 2)


def _in_blocks(work: Callable[[Floats], dict[str, Floats]], n: int, weights: ArrayLike | None) -> dict[str, Floats]:
    w = np.ones((1, n)) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.ndim != 2 or w.shape[1] != n:
        raise ValueError(f"weights expect shape (r, {n}), got {w.shape}")
    rows = max(1, BLOCK // n)
    blocks = [work(np.ascontiguousarray(w[at : at + rows].T)) for at in range(0, len(w), rows)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def checked(probabilities: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    """Both as arrays.

    Raises:
        ValueError: If shapes do not fit, a probability is not finite, or a label is out of range.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    y = np.asarray(labels, dtype=np.int64)
    if p.ndim != 2 or y.shape != p.shape[:1] or p.shape[0] < 1 or p.shape[1] < 2:
        raise ValueError(
            "metrics expect probabilities (n, k) of at least 1 case and 2 classes and labels (n,), "
            f"got {p.shape} and {y.shape}"
        )
    if bad := n_not_finite(p):
        raise ValueError(f"metrics expect finite probabilities, those of {bad} out of {len(p)} cases are not")
    if y.min() < 0 or y.max() >= p.shape[1]:
        raise ValueError(f"labels expect indices in [0, {p.shape[1]}), got {y.min()} to {y.max()}")
    return p, y


def n_not_finite(probabilities: Floats) -> int:
    """How many cases have a probability that is not finite, of shape ``(n, k)``."""
    return int((~np.isfinite(probabilities)).any(axis=1).sum())


def reported(value: float) -> float | None:
    """A number as JSON has it: None for one that is not finite."""
    return float(value) if math.isfinite(value) else None
