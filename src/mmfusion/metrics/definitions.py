"""Where each metric is defined, and in which range.

What a metric needs depends on the labels alone, never on the probabilities, so that it is known before anything is
trained. The guide's page on metrics has the same as a table.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmfusion.metrics.classification import evaluate
from mmfusion.metrics.ranking import Floats

MEANS_OF_CLASSES = (
    "auc",
    "average_precision",
    "balanced_accuracy",
    "f1_macro",
    "sensitivity",
    "specificity",
    "g_mean",
)
"""Of more than two classes: means over those that have cases."""


def undefined(labels: ArrayLike, n_classes: int, *, names: Sequence[str] = (), extra: Sequence[str] = ()) -> list[str]:
    """The metrics that no model has on cases with these labels.

    Args:
        labels: Shape ``(n,)``, class indices; at least one.
        n_classes: That there are.
        names: Names of the classes, for ``accuracy_<class>``; indices where none are given.
        extra: As for :func:`~mmfusion.metrics.classification.evaluate`.

    Raises:
        ValueError: If a label is out of range.
    """
    y = np.asarray(labels)
    anything = np.full((len(y), n_classes), 1 / n_classes)
    return [name for name, value in evaluate(anything, y, names=names, extra=extra).items() if np.isnan(value[0])]


def without_cases(labels: ArrayLike, classes: Sequence[str]) -> list[str]:
    """Names of the classes that no case has.

    Args:
        labels: Shape ``(n,)``, class indices.
        classes: Names of the classes.
    """
    counts = np.bincount(np.asarray(labels, dtype=np.int64), minlength=len(classes))
    return [name for name, count in zip(classes, counts) if not count]


def undefined_sentence(lacking: Sequence[str], without: Iterable[str], cases: str) -> str:
    """What classes without cases do to the metrics, in a sentence.

    Args:
        lacking: Names of the classes without cases.
        without: Names of the metrics that are undefined.
        cases: What lacks them, as the sentence's subject: ``The test set``.
    """
    classes = ", ".join(map(repr, lacking))
    means = "" if "auc" in (names := list(without)) else "; means over classes leave it out"
    if len(lacking) > 1:
        means = means.replace(" it ", " them ")
    return f"{cases} has no cases of {classes}: undefined there are {', '.join(names)}{means}."


def metric_range(metric: str, n_classes: int) -> tuple[float, float]:
    """The least and the greatest value that a metric can have.

    Args:
        metric: One of :data:`~mmfusion.metrics.classification.NAMES` or ``EXTRA``, or ``accuracy_<class>``.
        n_classes: That there are.
    """
    if metric == "log_loss":
        return 0.0, math.inf
    if metric == "mcc":
        return -1.0, 1.0
    return 0.0, 2.0 if metric == "brier" and n_classes > 2 else 1.0


def difference_range(metric: str, n_classes: int) -> tuple[float, float]:
    """The least and the greatest difference of two values of a metric; arguments as of :func:`metric_range`."""
    low, high = metric_range(metric, n_classes)
    return low - high, high - low


def keeping_classes(metrics: Mapping[str, Floats], labels: ArrayLike, weights: ArrayLike) -> dict[str, Floats]:
    """Metrics of resamples, with NaN for a mean over classes where a resample lost one of the cases' classes.

    It would be the mean of other classes than that of the cases as they are, mostly of the frequent ones.

    Args:
        metrics: By name, shape ``(r,)``.
        labels: Shape ``(n,)``, of the cases that were resampled.
        weights: Shape ``(r, n)``, how often each case was drawn.
    """
    return defined_in(metrics, keeps_classes(labels, weights))


def keeps_classes(labels: ArrayLike, weights: ArrayLike) -> NDArray[np.bool_]:
    """Of each resample, whether every class of the cases has weight.

    Args:
        labels: Shape ``(n,)``.
        weights: Shape ``(r, n)``.

    Returns:
        Shape ``(r,)``.
    """
    y, w = np.asarray(labels), np.asarray(weights)
    whole: NDArray[np.bool_] = np.ones(len(w), dtype=np.bool_)
    for label in np.unique(y):
        whole &= w[:, y == label].any(axis=1)
    return whole


def defined_in(metrics: Mapping[str, Floats], whole: NDArray[np.bool_]) -> dict[str, Floats]:
    """The second half of :func:`keeping_classes`.

    Args:
        metrics: By name, shape ``(r,)``.
        whole: Shape ``(r,)``, from :func:`keeps_classes`.
    """
    if whole.all():
        return dict(metrics)
    return {
        name: np.where(whole, values, np.nan) if name in MEANS_OF_CLASSES else values
        for name, values in metrics.items()
    }
