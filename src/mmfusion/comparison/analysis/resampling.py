"""Metrics of many runs on the same resamples of their test cases.

Runs with the same test cases share every resample: it is drawn once, and each run's scores are sorted once. Different
test sets, of several folds or of one, are resampled separately.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmfusion.comparison.analysis.judged import Judged
from mmfusion.comparison.analysis.subgroups import shared, shared_rows
from mmfusion.metrics.bootstrap import resample
from mmfusion.metrics.classification import Prepared, PreparedCalibration
from mmfusion.metrics.definitions import defined_in, keeps_classes
from mmfusion.metrics.ranking import Floats
from mmfusion.metrics.shared_classes import Shared

N_CURVES = 300
"""Resamples for the bands of curves."""

N_SUBGROUPS = 1000
"""Resamples for the intervals of subgroups, at most."""


class Drawn(NamedTuple):
    """A metric of one run.

    Attributes:
        value: On the cases as they are.
        drawn: Shape ``(r,)``, on each resample.
    """

    value: float
    drawn: Floats


@dataclass(frozen=True)
class Sampled:
    """A run's metrics on all resamples.

    Attributes:
        judged: The run.
        raw: By metric.
        scaled: Calibration after temperature scaling; empty where no temperature is known.
        subgroups: By property and value, by metric, on the classes that all subgroups of the property have.
        weights: Shape ``(n, r)``, the first resamples, for curves.
    """

    judged: Judged
    raw: Mapping[str, Drawn]
    scaled: Mapping[str, Drawn]
    subgroups: Mapping[tuple[str, str], Mapping[str, Drawn]]
    weights: Floats


def sample(judged: Sequence[Judged], *, n_resamples: int, seed: int, extra: Sequence[str] = ()) -> list[Sampled]:
    """All metrics of all runs.

    Args:
        judged: Runs of the same classes.
        n_resamples: Of the stratified bootstrap of patients or lesions.
        seed: Of the bootstrap; the same for all, and for one fold the same resamples whatever the other folds are.
            If a fold has several test sets, each has its own resamples.
        extra: Further metrics, from :data:`mmfusion.metrics.classification.EXTRA`.

    Returns:
        One per run, in their order.
    """
    by_test_set: dict[str, list[int]] = {}
    for i, run in enumerate(judged):
        by_test_set.setdefault(run.test_set, []).append(i)
    of_property = shared(judged)
    sets_of_fold = Counter(judged[members[0]].run.fold for members in by_test_set.values())
    result: dict[int, Sampled] = {}
    for test_set, members in by_test_set.items():
        fold = judged[members[0]].run.fold
        # With the same seed the sets of one fold would be resampled as if their patients were the same.
        seeds = [seed, fold, int(test_set[:8], 16)] if sets_of_fold[fold] > 1 else [seed, fold]
        sampled = _sample_test_set([judged[i] for i in members], n_resamples, seeds, extra, of_property)
        result |= dict(zip(members, sampled))
    return [result[i] for i in range(len(judged))]


class _Task(NamedTuple):
    """Metrics to compute on each resample: of which cases, and on how many resamples."""

    metrics: Prepared | PreparedCalibration
    rows: NDArray[np.intp] | None
    n: int


def _sample_test_set(
    judged: Sequence[Judged],
    n_resamples: int,
    seed: Sequence[int],
    extra: Sequence[str],
    of_property: Mapping[str, Shared],
) -> list[Sampled]:
    first = judged[0].cases
    tasks = [_tasks(run, n_resamples, extra, of_property) for run in judged]
    drawn: list[dict[tuple[str, ...], list[dict[str, Floats]]]] = [{key: [] for key in of_run} for of_run in tasks]
    head: list[Floats] = []
    done = 0
    # If each case is its own group the names do not matter, and grouping by number is faster.
    groups = first.groups.tolist() if first.grouped else None
    spread = np.random.SeedSequence(seed).generate_state(1)[0]
    for block in resample(first.labels, groups, n_resamples=n_resamples, seed=int(spread)):
        weights = np.ascontiguousarray(block.T)
        # Runs of a test set mostly share their subgroups, and with them the classes that a resample keeps.
        complete: dict[bytes, NDArray[np.bool_]] = {}
        if done < N_CURVES:
            head.append(weights[:, : N_CURVES - done].copy())
        for of_run, into in zip(tasks, drawn):
            for key, task in of_run.items():
                if done < task.n:
                    block_weights = weights[:, : task.n - done]
                    own_weights = np.ascontiguousarray(block_weights if task.rows is None else block_weights[task.rows])
                    which = b"" if task.rows is None else task.rows.tobytes()
                    if which not in complete:
                        labels = first.labels if task.rows is None else first.labels[task.rows]
                        complete[which] = keeps_classes(labels, own_weights.T)
                    into[key].append(defined_in(task.metrics.resampled(own_weights), complete[which]))
        done += weights.shape[1]
    kept = np.concatenate(head, axis=1)
    return [_joined(run, of_run, into, kept) for run, of_run, into in zip(judged, tasks, drawn)]


def _tasks(
    judged: Judged, n_resamples: int, extra: Sequence[str], of_property: Mapping[str, Shared]
) -> dict[tuple[str, ...], _Task]:
    cases, classes = judged.cases, judged.run.classes
    threshold = 0.5 if judged.threshold is None else judged.threshold
    prepared = Prepared(cases.probabilities, cases.labels, threshold=threshold, names=classes, extra=extra)
    tasks: dict[tuple[str, ...], _Task] = {("raw",): _Task(prepared, None, n_resamples)}
    if (scaled := judged.scaled) is not None:
        tasks["scaled",] = _Task(PreparedCalibration(scaled, cases.labels), None, n_resamples)
    for (by, value), rows in shared_rows(judged, of_property).items():
        p, y = cases.probabilities[rows], cases.labels[rows]
        prepared = Prepared(p, y, threshold=threshold, names=classes, extra=extra)
        tasks["subgroup", by, value] = _Task(prepared, rows, min(n_resamples, N_SUBGROUPS))
    return tasks


def _joined(
    judged: Judged,
    tasks: Mapping[tuple[str, ...], _Task],
    drawn: Mapping[tuple[str, ...], Sequence[Mapping[str, Floats]]],
    weights: Floats,
) -> Sampled:
    out: dict[tuple[str, ...], dict[str, Drawn]] = {}
    for key, task in tasks.items():
        n = len(judged.cases) if task.rows is None else len(task.rows)
        point = task.metrics(np.ones((n, 1)))
        out[key] = {
            name: Drawn(float(value[0]), np.concatenate([block.get(name, _nothing(block)) for block in drawn[key]]))
            for name, value in point.items()
        }
    subgroups = {(key[1], key[2]): drawn_metrics for key, drawn_metrics in out.items() if key[0] == "subgroup"}
    return Sampled(judged, out["raw",], out.get(("scaled",), {}), subgroups, weights)


def _nothing(block: Mapping[str, Floats]) -> Floats:
    """NaN for a metric that is not computed on resamples."""
    return np.full_like(next(iter(block.values())), np.nan)
