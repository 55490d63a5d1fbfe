"""The interval of one method's mean, by the kind of metric: within its range, with both sources of error."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mmfusion.metrics.cases import FEW, TestCases
from mmfusion.metrics.classification import WITHOUT_INTERVAL
from mmfusion.metrics.definitions import MEANS_OF_CLASSES, metric_range
from mmfusion.metrics.few_positives import auc_variance, newcombe, wilson
from mmfusion.metrics.ranking import Floats
from mmfusion.metrics.two_sources import StandardError, case_variances, two_source_error
from mmfusion.utils.optional import need

_BIAS_CORRECTED = ("average_precision", "average_precision_called")
_OF_CLASSES = (*MEANS_OF_CLASSES, *_BIAS_CORRECTED, "mcc")
_UNPROVEN = frozenset({"g_mean", "balanced_accuracy", "f1_macro", "f1_weighted", "mcc"})
"""Metrics whose intervals leave 91 to 99%, or 93 to 97% on average, where a class has few cases, or were not tried."""
_EDGE = 0.005
"""How far from the ends of the range a corrected middle stays, as a share of it."""


class ScoreInterval(NamedTuple):
    """An interval of a mean; NaN where there is none.

    Attributes:
        low: Lower end.
        high: Upper end.
        error: Standard error.
        kind: ``logit``, ``DeLong``, ``Newcombe``, ``Wilson`` or ``bias-corrected``; empty where there is none.
        reason: Why there is none; empty where there is one, or where the metric is undefined.
    """

    low: float
    high: float
    error: float
    kind: str = ""
    reason: str = ""


UNDEFINED = ScoreInterval(math.nan, math.nan, math.nan)


def score_interval(
    metric: str,
    values: ArrayLike,
    drawn: ArrayLike | None,
    cases: TestCases,
    probabilities: Sequence[Floats] = (),
    *,
    level: float = 0.95,
) -> ScoreInterval:
    """Interval of the mean of a metric over runs on the same test cases; of one run for other test cases only.

    - Most metrics: Student's t on the logit scale of the metric's range, on the log scale for log loss.
    - AUC where a class has less than 50 groups: the same with DeLong's variance; where the AUC is 1 or 0, Newcombe's.
    - Recall of a class under 50 groups: Wilson's, of as many cases as the standard error is worth, at most the class's.
    - Accuracy under 50 groups: the standard error is at least that of as many independent cases, since resamples of a
      few groups that are right by halves hardly vary.
    - Means of recalls, F1, G-mean and MCC where a class has less than 50 groups: none.
    - Average precision: about the value less its bias, which the bootstrap estimates.
    - ECE: none.

    Args:
        metric: Its name.
        values: Shape ``(s,)``, one per run.
        drawn: Shape ``(s, r)``, on each resample of a stratified bootstrap; None: none was drawn.
        cases: The test cases.
        probabilities: Of each run, shape ``(n, k)``; without them the AUC of few positives has the bootstrap's error.
        level: Coverage, in (0, 1).
    """
    x = np.asarray(values, dtype=np.float64)
    if not len(x) or not np.isfinite(x).all():
        return UNDEFINED
    if metric in WITHOUT_INTERVAL:
        return _none("no interval of it covers what it should")
    if cases.n_groups < 2:
        return _none("all cases are of one group")
    mean = float(x.mean())
    if metric == "auc" and cases.few and len(probabilities):
        return _auc(mean, x, np.stack(probabilities), cases, level)
    if drawn is None:
        return _none("no resamples were drawn")
    of_mean, of_single = case_variances(replicates := np.asarray(drawn, dtype=np.float64))
    if not math.isfinite(of_mean):
        return _none("most resamples leave it undefined")
    degrees, center = float(cases.n_groups - 1), mean
    if metric in _OF_CLASSES:
        if cases.smallest < 2:
            return _none("a class has a single case or group")
        degrees = float(cases.smallest - 1)
        # A bootstrap of m groups has (m - 1) / m of the variance.
        factor = cases.smallest / degrees
        of_mean, of_single = factor * of_mean, factor * of_single
    if cases.few and (metric in _UNPROVEN or (metric == "sensitivity" and cases.n_classes > 2)):
        return _none(f"a class has fewer than {FEW} cases or groups, where no interval of it covers what it should")
    error = two_source_error(x, of_mean, of_single, degrees)
    if metric == "accuracy" and cases.n_groups < FEW:
        least = math.sqrt(max(mean * (1 - mean), 0.0) / len(cases.labels))
        error = error._replace(error=np.maximum(error.error, least))
    members = _recalled(metric, cases)
    if members is not None and members[1] < FEW:
        return _wilson(mean, error, *members, level)
    if metric in _BIAS_CORRECTED:
        center = 2 * mean - float(np.nanmean(replicates))
    return _on_scale(metric, mean, center, error, cases, level)


def scale_interval(
    mean: float, error: float, degrees: float, span: tuple[float, float], *, center: float | None = None, level: float
) -> tuple[float, float]:
    """Student's interval on the logit scale of a range, or the log scale where that has no upper end.

    Args:
        mean: The value, strictly inside the range.
        error: Its standard error, positive.
        degrees: Degrees of freedom.
        span: The range.
        center: Middle of the interval on that scale, where it is not the value; moved into the range.
        level: Coverage, in (0, 1).

    Returns:
        The ends; they hold the value even where the center is another.
    """
    low, high = span
    reach = float(need("scipy.stats", "bench").t.ppf((1 + level) / 2, degrees)) * error
    middle = mean if center is None else center
    if math.isinf(high):
        ends = [low + (middle - low) * math.exp(sign * min(reach / (middle - low), 700.0)) for sign in (-1, 1)]
    else:
        width, edge = high - low, _EDGE if center is not None else 1e-9
        share = min(max((middle - low) / width, edge), 1 - edge)
        slope, logit = reach / width / (share * (1 - share)), math.log(share / (1 - share))
        ends = [low + width * _expit(logit + sign * slope) for sign in (-1, 1)]
    return min(ends[0], mean), max(ends[1], mean)


def _on_scale(
    metric: str, mean: float, center: float, error: StandardError, cases: TestCases, level: float
) -> ScoreInterval:
    span = metric_range(metric, cases.n_classes)
    size, degrees = float(error.error), float(error.degrees)
    if not span[0] < mean < span[1] or size == 0:
        recalled = _recalled(metric, cases)
        if metric == "accuracy" or recalled is not None:
            n = cases.n_groups if recalled is None else recalled[0]
            return ScoreInterval(*wilson(mean, n, level=level), size, "Wilson")
        if metric == "auc":
            return _newcombe(mean, size, cases, level)
        return _none("it cannot vary over these cases" if size == 0 else "it is at an end of its range")
    corrected = metric in _BIAS_CORRECTED
    ends = scale_interval(mean, size, degrees, span, center=center if corrected else None, level=level)
    return ScoreInterval(*ends, size, "bias-corrected" if corrected else "logit")


def _auc(mean: float, values: Floats, probabilities: Floats, cases: TestCases, level: float) -> ScoreInterval:
    variance = auc_variance(probabilities, cases)
    if not math.isfinite(variance.of_mean):
        return _none("a class has a single case or group")
    error = two_source_error(values, variance.of_mean, variance.of_single, variance.degrees)
    size = float(error.error)
    if size == 0 or not 0 < mean < 1:
        return _newcombe(mean, size, cases, level)
    return ScoreInterval(*scale_interval(mean, size, float(error.degrees), (0.0, 1.0), level=level), size, "DeLong")


def _newcombe(mean: float, size: float, cases: TestCases, level: float) -> ScoreInterval:
    ends = newcombe(mean, cases.smallest, max(cases.n_groups - cases.smallest, 1), level=level)
    return ScoreInterval(*ends, size, "Newcombe")


def _wilson(mean: float, error: StandardError, n_groups: int, n_cases: int, level: float) -> ScoreInterval:
    size = float(error.error)
    worth = float(n_groups)
    if size > 0 and 0 < mean < 1:
        worth = min(max(mean * (1 - mean) / size**2, 1.0), float(n_cases))
    return ScoreInterval(*wilson(mean, worth, level=level), size, "Wilson")


def _recalled(metric: str, cases: TestCases) -> tuple[int, int] | None:
    """Groups and cases of the class whose recall a metric is; None for other metrics."""
    if cases.n_classes == 2 and metric in ("sensitivity", "specificity"):
        c = int(metric == "sensitivity")
    elif metric.startswith("accuracy_") and (name := metric.removeprefix("accuracy_")) in cases.names:
        c = cases.names.index(name)
    else:
        return None
    return int(cases.groups_of_class[c]), int(cases.cases_of_class[c])


def _expit(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else (e := math.exp(max(x, -700.0))) / (1 + e)


def _none(reason: str) -> ScoreInterval:
    return ScoreInterval(math.nan, math.nan, math.nan, "", reason)
