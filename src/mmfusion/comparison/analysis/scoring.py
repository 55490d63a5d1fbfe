"""Mean of a metric over the runs of a method, with an interval that has both sources of error.

On one test set the interval is that of :func:`~mmfusion.metrics.score_intervals.score_interval`. Over several, those
of folds, one mean per test set counts, with the variance of Nadeau and Bengio and not less than the test cases alone
give.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mmfusion.comparison.analysis.resampling import Drawn, Sampled
from mmfusion.comparison.analysis.scores import Score
from mmfusion.metrics.cases import TestCases
from mmfusion.metrics.classification import WITHOUT_INTERVAL
from mmfusion.metrics.definitions import metric_range
from mmfusion.metrics.differences import LEAST_SPLITS
from mmfusion.metrics.ranking import Floats
from mmfusion.metrics.score_intervals import UNDEFINED, ScoreInterval, scale_interval, score_interval
from mmfusion.metrics.two_sources import case_variances

FOLDS_NOT_SIZED = "no run recorded its number of training cases"


class Observed(NamedTuple):
    """A metric of one run.

    Attributes:
        drawn: Its value, and on each resample.
        cases: The cases it was computed on.
        probabilities: Of these cases, shape ``(n, k)``.
        test_set: Equal for runs on the same cases.
    """

    drawn: Drawn
    cases: TestCases
    probabilities: Floats
    test_set: str


def mean_score(metric: str, runs: Sequence[Observed], level: float, set_sizes: tuple[float, float] | None) -> Score:
    """Mean over the runs in which a metric is defined, with its interval.

    Args:
        metric: Its name.
        runs: Of one method.
        level: Coverage of the interval.
        set_sizes: Mean cases of a training and a test set, from :func:`~mmfusion.comparison.analysis.held_out.sizes`.
    """
    points = tuple(run.drawn.value for run in runs)
    defined = [run for run in runs if np.isfinite(run.drawn.value)]
    if not defined:
        return Score(np.nan, np.nan, np.nan, np.nan, np.nan, points)
    values = np.array([run.drawn.value for run in defined])
    sd = float(values.std(ddof=1)) if len(values) > 1 else np.nan
    by_set: dict[str, list[Observed]] = {}
    for run in defined:
        by_set.setdefault(run.test_set, []).append(run)
    if len(by_set) == 1:
        drawn = np.array([run.drawn.drawn for run in defined])
        probabilities = [run.probabilities for run in defined]
        found = score_interval(metric, values, drawn, defined[0].cases, probabilities, level=level)
    else:
        found = _over_test_sets(metric, list(by_set.values()), float(values.mean()), level, set_sizes)
    return Score(float(values.mean()), sd, found.low, found.high, found.error, points, found.reason)


def _over_test_sets(
    metric: str, sets: Sequence[Sequence[Observed]], mean: float, level: float, set_sizes: tuple[float, float] | None
) -> ScoreInterval:
    n = len(sets)
    if metric in WITHOUT_INTERVAL:
        return UNDEFINED._replace(reason="no interval of it covers what it should")
    if n < LEAST_SPLITS:
        return UNDEFINED._replace(reason=f"{n} folds are too few, an interval needs {LEAST_SPLITS}")
    if set_sizes is None:
        return UNDEFINED._replace(reason=FOLDS_NOT_SIZED)
    means = np.array([np.mean([run.drawn.value for run in runs]) for runs in sets])
    of_cases = sum(case_variances(np.array([run.drawn.drawn for run in runs]))[0] for runs in sets) / n**2
    corrected = (1 / n + set_sizes[1] / set_sizes[0]) * means.var(ddof=1)
    error = float(np.sqrt(max(corrected, of_cases) if np.isfinite(of_cases) else corrected))
    span = metric_range(metric, sets[0][0].cases.n_classes)
    if error < 1e-9 or not span[0] < mean < span[1]:
        return UNDEFINED._replace(reason="it is at an end of its range or does not vary over the folds")
    return ScoreInterval(*scale_interval(mean, error, n - 1, span, level=level), error, "folds")


def method_scores(
    runs: Sequence[Sampled],
    drawn_of: Callable[[Sampled], dict[str, Drawn]],
    level: float,
    set_sizes: tuple[float, float] | None,
    *,
    scaled: bool = False,
) -> dict[str, Score]:
    """All metrics of a method.

    Args:
        runs: Its runs.
        drawn_of: The metrics of a run.
        level: Coverage of the intervals.
        set_sizes: As for :func:`mean_score`.
        scaled: Whether the metrics are of the probabilities after temperature scaling.
    """
    metrics = [drawn_of(run) for run in runs]
    out = {}
    for name in metrics[0]:
        observed = []
        for run, of_run in zip(runs, metrics):
            p = run.judged.scaled if scaled else None
            cases = run.judged.cases.probabilities if p is None else p
            observed.append(Observed(of_run[name], run.judged.test_cases, cases, run.judged.test_set))
        out[name] = mean_score(name, observed, level, set_sizes)
    return out
