"""Scores of a method in subgroups of the test cases, and the gap between the best and the worst of them."""

from collections.abc import Mapping, Sequence

import numpy as np

from mmfusion.comparison.analysis.resampling import Sampled
from mmfusion.comparison.analysis.scores import Gap, Score, Subgroup
from mmfusion.comparison.analysis.scoring import Observed, mean_score
from mmfusion.comparison.analysis.subgroups import shared_rows, subgroup_rows
from mmfusion.metrics.classification import LOWER_IS_BETTER, WITHOUT_INTERVAL
from mmfusion.metrics.definitions import difference_range
from mmfusion.metrics.differences import t_test
from mmfusion.metrics.shared_classes import Shared
from mmfusion.metrics.two_sources import resampled_error


def subgroup_scores(
    sampled: Sequence[Sampled],
    of_property: Mapping[str, Shared],
    level: float,
    set_sizes: tuple[float, float] | None,
) -> tuple[Subgroup, ...]:
    """One row per property and value that some run has.

    Args:
        sampled: Runs of one method.
        of_property: What is compared; see :func:`~mmfusion.comparison.analysis.subgroups.shared`.
        level: Coverage of the intervals.
        set_sizes: As for :func:`~mmfusion.comparison.analysis.scoring.mean_score`.
    """
    classes = sampled[0].judged.run.classes
    nothing = Score(np.nan, np.nan, np.nan, np.nan, np.nan, (np.nan,) * len(sampled))
    rows = [subgroup_rows(run.judged) for run in sampled]
    compared = [shared_rows(run.judged, of_property) for run in sampled]
    out = []
    for by, value in dict.fromkeys(key for of_run in rows for key in of_run):
        cases: dict[str, tuple[int, str]] = {}
        for run, of_run in zip(sampled, rows):
            members = run.judged.cases.take(of_run.get((by, value), np.empty(0, dtype=np.intp)))
            cases |= dict(zip(members.ids.tolist(), zip(members.labels.tolist(), members.groups.tolist())))
        observed = [
            (run.subgroups[by, value], run.judged.cases_of(at), run.judged.cases.probabilities[at], run.judged.test_set)
            for run, of_run in zip(sampled, compared)
            if (by, value) in run.subgroups
            for at in (of_run[by, value],)
        ]
        scores = dict.fromkeys(sampled[0].raw, nothing)
        for name in scores if observed else ():
            drawn = [Observed(metrics[name], among, p, test_set) for metrics, among, p, test_set in observed]
            scores[name] = mean_score(name, drawn, level, set_sizes)
        counts = {name: sum(label == c for label, _ in cases.values()) for c, name in enumerate(classes)}
        out.append(Subgroup(by, value, len(cases), len({group for _, group in cases.values()}), counts, scores))
    return tuple(out)


def gaps(
    sampled: Sequence[Sampled],
    subgroups: Sequence[Subgroup],
    of_property: Mapping[str, Shared],
    metric: str,
    level: float,
) -> tuple[Gap, ...]:
    """Best and worst subgroup of each property by one metric, and their difference.

    Args:
        sampled: Runs of one method.
        subgroups: From :func:`subgroup_scores`.
        of_property: As there.
        metric: Its name.
        level: Coverage of the intervals, which only runs on one test set have.
    """
    names = sampled[0].judged.run.classes
    out = []
    for by, common in of_property.items():
        means = {one.value: one.scores[metric].mean for one in subgroups if one.by == by and one.value in common.values}
        known = sorted((value for value in means if np.isfinite(means[value])), key=lambda value: means[value])
        if len(known) < 2:
            continue
        worst, best = known[0], known[-1]
        if metric in LOWER_IS_BETTER:
            worst, best = best, worst
        low, high = _interval(sampled, (by, best), (by, worst), metric, level)
        difference = means[best] - means[worst]
        out.append(Gap(by, tuple(names[c] for c in common.classes), worst, best, difference, low, high))
    return tuple(out)


def _interval(
    sampled: Sequence[Sampled], best: tuple[str, str], worst: tuple[str, str], metric: str, level: float
) -> tuple[float, float]:
    """For these two subgroups, other test cases and other training runs."""
    runs = [run for run in sampled if best in run.subgroups and worst in run.subgroups]
    one_set = len({run.judged.test_set for run in sampled}) == 1
    if metric in WITHOUT_INTERVAL or not one_set or len(runs) < len(sampled):
        return np.nan, np.nan
    values, drawn = [], []
    for run in runs:
        above, below = run.subgroups[best][metric], run.subgroups[worst][metric]
        values.append(above.value - below.value)
        drawn.append(above.drawn - below.drawn)
    judged = runs[0].judged
    found = resampled_error(np.array(values), np.array(drawn), judged.test_cases.n_groups - 1)
    bounds = difference_range(metric, len(judged.run.classes))
    test = t_test(float(np.mean(values)), float(found.error), float(found.degrees), level=level, bounds=bounds)
    return test.low, test.high
