"""Metrics of many runs on the same resamples of their test cases.

Runs with the same test cases share every resample: it is drawn once, and each run's scores are sorted once. Different
test sets, of several folds or of one, are resampled separately.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmfusion.comparison.analysis.held_out import test_set_of
from mmfusion.comparison.finished_run import Cases, FinishedRun
from mmfusion.data.schema.subgroups import UNKNOWN
from mmfusion.metrics.bootstrap import resample
from mmfusion.metrics.calibration import apply_temperature, fit_temperature
from mmfusion.metrics.cases import TestCases
from mmfusion.metrics.classification import Prepared, PreparedCalibration, best_threshold
from mmfusion.metrics.definitions import defined_in, keeps_classes
from mmfusion.metrics.ranking import Floats

N_CURVES = 300
"""Resamples for the bands of curves."""

N_SUBGROUPS = 1000
"""Resamples for the intervals of subgroups, at most."""


@dataclass(frozen=True)
class Judged:
    """A run with its test cases in the order of their ids, and the threshold and temperature from validation.

    Attributes:
        run: The run.
        cases: Its test cases by id.
        threshold: On class 1; None for more than two classes.
        temperature: None where it is unknown.
    """

    run: FinishedRun
    cases: Cases
    threshold: float | None
    temperature: float | None

    @cached_property
    def test_set(self) -> str:
        """Equal for runs of the same fold whose test cases are the same, with the same labels and groups."""
        return test_set_of(self.run)

    @cached_property
    def test_cases(self) -> TestCases:
        """Labels and groups of its test cases."""
        return self.cases_of(np.arange(len(self.cases)))

    def cases_of(self, rows: NDArray[np.intp]) -> TestCases:
        """Labels and groups of some of its test cases."""
        classes = self.run.classes
        groups = self.cases.groups[rows].tolist()
        return TestCases.of(self.cases.labels[rows], groups, len(classes), classes)

    @cached_property
    def scaled(self) -> Floats | None:
        """Probabilities after temperature scaling."""
        return None if self.temperature is None else apply_temperature(self.cases.probabilities, self.temperature)


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
        subgroups: By property and value, by metric.
        weights: Shape ``(n, r)``, the first resamples, for curves.
    """

    judged: Judged
    raw: Mapping[str, Drawn]
    scaled: Mapping[str, Drawn]
    subgroups: Mapping[tuple[str, str], Mapping[str, Drawn]]
    weights: Floats


def judge(run: FinishedRun) -> Judged:
    """A run with the threshold and temperature of its validation cases, or without these the values that it stored.

    A threshold in its settings is kept.
    """
    order = np.argsort(run.test.ids, kind="stable")
    binary, held_out = len(run.classes) == 2, run.validation
    threshold, temperature = run.metrics.get("threshold"), run.metrics.get("temperature")
    if held_out is not None:
        if binary and run.settings.train.threshold is None:
            threshold = best_threshold(held_out.probabilities, held_out.labels)
        temperature = fit_temperature(held_out.probabilities, held_out.labels)
    elif binary and threshold is None:
        threshold = 0.5
    return Judged(run, run.test.take(order), threshold if binary else None, temperature)


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
    sets_of_fold = Counter(judged[members[0]].run.fold for members in by_test_set.values())
    result: dict[int, Sampled] = {}
    for test_set, members in by_test_set.items():
        fold = judged[members[0]].run.fold
        # With the same seed the sets of one fold would be resampled as if their patients were the same.
        seeds = [seed, fold, int(test_set[:8], 16)] if sets_of_fold[fold] > 1 else [seed, fold]
        sampled = _sample_test_set([judged[i] for i in members], n_resamples, seeds, extra)
        result |= dict(zip(members, sampled))
    return [result[i] for i in range(len(judged))]


class _Task(NamedTuple):
    """Metrics to compute on each resample: of which cases, and on how many resamples."""

    metrics: Prepared | PreparedCalibration
    rows: NDArray[np.intp] | None
    n: int


def _sample_test_set(
    judged: Sequence[Judged], n_resamples: int, seed: Sequence[int], extra: Sequence[str]
) -> list[Sampled]:
    first = judged[0].cases
    tasks = [_tasks(run, n_resamples, extra) for run in judged]
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


def _tasks(judged: Judged, n_resamples: int, extra: Sequence[str]) -> dict[tuple[str, ...], _Task]:
    cases, classes = judged.cases, judged.run.classes
    threshold = 0.5 if judged.threshold is None else judged.threshold
    prepared = Prepared(cases.probabilities, cases.labels, threshold=threshold, names=classes, extra=extra)
    tasks: dict[tuple[str, ...], _Task] = {("raw",): _Task(prepared, None, n_resamples)}
    if (scaled := judged.scaled) is not None:
        tasks["scaled",] = _Task(PreparedCalibration(scaled, cases.labels), None, n_resamples)
    for (by, value), rows in subgroup_rows(judged).items():
        if len(set(cases.labels[rows].tolist())) > 1:
            p, y = cases.probabilities[rows], cases.labels[rows]
            prepared = Prepared(p, y, threshold=threshold, names=classes, extra=extra)
            tasks["subgroup", by, value] = _Task(prepared, rows, min(n_resamples, N_SUBGROUPS))
    return tasks


def subgroup_rows(judged: Judged) -> dict[tuple[str, str], NDArray[np.intp]]:
    """Rows of the test cases by property and value; cases whose value is unknown are in none."""
    if judged.run.subgroups is None:
        return {}
    order = np.argsort(judged.run.test.ids, kind="stable")
    rows = {}
    for by, values in judged.run.subgroups.items():
        ordered = values[order]
        for value in sorted(set(ordered.tolist()) - {""}, key=_in_order):
            rows[by, value] = np.flatnonzero(ordered == value)
    return rows


def _in_order(value: str) -> tuple[int, str]:
    """The lowest band first, unknown values last."""
    return (0 if value.startswith("below") else 2 if value == UNKNOWN else 1), value


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
