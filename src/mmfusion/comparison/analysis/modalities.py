"""Effect of missing cells and missing modalities, aggregated over a method's runs.

Each run has intervals for its test cases. Seeds share these cases, so that their intervals are averaged: that of their
mean is no wider. Test sets of different folds are independent, and the squares of their errors add up.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmfusion.comparison.analysis.held_out import sizes, test_set_of
from mmfusion.comparison.analysis.scores import Contribution, Degradation, Score
from mmfusion.comparison.finished_run import FinishedRun
from mmfusion.metrics.definitions import difference_range
from mmfusion.metrics.intervals import LEAST_SPLITS, corrected_resampled_difference, within
from mmfusion.metrics.ranking import Floats, divide
from mmfusion.utils.optional import need

METRIC = "auc"
_NAMES = ("value", "low", "high", "error")


def degradation(runs: Sequence[FinishedRun]) -> Degradation | None:
    """The AUC by the share of missing cells; None if no run was evaluated with missing cells."""
    by_share = [_cells(run) for run in runs]
    shares = sorted(set().union(*by_share))
    if len(shares) < 2:
        return None
    nothing = np.full(len(_NAMES), np.nan)
    # By run, share, and value, ends and error.
    values = np.array([[values.get(share, nothing) for share in shares] for values in by_share])
    x = np.array(shares)
    # The ends are the areas under the ends: as if the errors at all shares went together, which they nearly do.
    areas = np.trapezoid(values, x, axis=1) / (x[-1] - x[0])
    test_sets = [test_set_of(run) for run in runs]
    mean = _combined(values, test_sets)
    return Degradation(METRIC, x, mean[:, 0], mean[:, 1], mean[:, 2], values[:, :, 0], _score(areas, test_sets))


def contributions(runs: Sequence[FinishedRun], level: float) -> tuple[Contribution, ...]:
    """AUC that each modality brings, in the order of the rows: without it first, then with its rows permuted."""
    names: dict[tuple[str, str], None] = {}
    for run in runs:
        for row in run.robustness or ():
            if row["kind"] in ("without", "permuted") and row.get("modality") is not None:
                names[str(row["kind"]), str(row["modality"])] = None
    test_sets = [test_set_of(run) for run in runs]
    out = []
    for kind, modality in names:
        rows = [_row(run, kind, modality) for run in runs]
        left = np.array([_numbers(None if row is None else row["metrics"].get(METRIC)) for row in rows])
        whole = np.array([_whole(run) for run in runs])
        stored = np.array([_numbers(None if row is None else row.get("drop")) for row in rows])
        drops = np.where(np.isfinite(stored[:, 0]), stored[:, 0], whole[:, 0] - left[:, 0])
        kept = np.isfinite(drops)
        if kept.any() and np.isfinite(stored[kept, 1:3]).all():
            drop, interval = _score(np.column_stack([drops, stored[:, 1:]]), test_sets), "cases"
        else:
            drop, interval = _over_runs(drops, runs, test_sets, level)
        out.append(Contribution(modality, kind, _score(left, test_sets), drop, interval))
    return tuple(out)


def _cells(run: FinishedRun) -> dict[float, Floats]:
    return {
        float(row["share"]): _numbers(row["metrics"].get(METRIC))
        for row in run.robustness or ()
        if row["kind"] == "cells" and isinstance(row.get("share"), int | float)
    }


def _row(run: FinishedRun, kind: str, modality: str) -> Mapping[str, Any] | None:
    for row in run.robustness or ():
        if row["kind"] == kind and row.get("modality") == modality:
            return row
    return None


def _whole(run: FinishedRun) -> Floats:
    """AUC of the unchanged cases, from the same rows if they have it."""
    unchanged = _cells(run).get(0.0)
    if unchanged is not None and math.isfinite(unchanged[0]):
        return unchanged
    test = run.metrics.get("test")
    return _numbers(test.get(METRIC) if isinstance(test, Mapping) else None)


def _numbers(estimate: Any) -> Floats:
    """Value, ends and error; NaN for what is undefined."""
    values = estimate if isinstance(estimate, Mapping) else {}
    return np.array([x if isinstance(x := values.get(name), int | float) else np.nan for name in _NAMES], np.float64)


def _means(values: Floats) -> Floats:
    """Means of the defined values over the first axis; NaN if none is defined."""
    defined = np.isfinite(values)
    total, n = np.where(defined, values, 0.0).sum(axis=0), defined.sum(axis=0)
    return divide(total, n.astype(np.float64))


def _combined(values: Floats, test_sets: Sequence[str]) -> Floats:
    """Mean over the runs that have a value, with the ends and the error of this mean.

    Args:
        values: Shape ``(runs, ..., 4)``: value, ends and error.
        test_sets: The test set of each run.

    Returns:
        Shape ``(..., 4)``; NaN ends if a test set has none.
    """
    defined = np.isfinite(values[..., 0])
    # Distances of the ends from the value, and its error.
    reach = np.stack([values[..., 0] - values[..., 1], values[..., 2] - values[..., 0], values[..., 3]], axis=-1)
    reach = np.where(defined[..., None], reach, np.nan)
    squares = np.zeros(reach.shape[1:])
    for test_set in dict.fromkeys(test_sets):
        members = np.array([other == test_set for other in test_sets])
        n = defined[members].sum(axis=0)[..., None]
        squares += np.where(n > 0, (n * _means(reach[members])) ** 2, 0.0)
    n_runs = defined.sum(axis=0)[..., None].astype(np.float64)
    low, high, error = np.moveaxis(divide(np.sqrt(squares), n_runs), -1, 0)
    mean = _means(values[..., 0])
    return np.stack([mean, mean - low, mean + high, error], axis=-1)


def _score(values: Floats, test_sets: Sequence[str]) -> Score:
    """Score of the rows ``value, low, high, error``, one per run."""
    mean, low, high, error = _combined(values, test_sets).tolist()
    return Score(mean, _sd(values[:, 0]), low, high, error, tuple(values[:, 0].tolist()))


def _over_runs(
    values: Floats, runs: Sequence[FinishedRun], test_sets: Sequence[str], level: float
) -> tuple[Score, str]:
    """Score with an interval from the differences between runs, for runs without intervals, and the interval's kind.

    Over several test sets it is that of Nadeau and Bengio, on the mean of the seeds of each; over the seeds of one test
    set it is Student's, for other seeds on the same cases. Fewer than :data:`LEAST_SPLITS` test sets or seeds have
    none.
    """
    kept = np.isfinite(values)
    sd, points = _sd(values), tuple(values.tolist())
    of_run = np.array(test_sets)
    by_set = [float(values[kept & (of_run == name)].mean()) for name in dict.fromkeys(of_run[kept].tolist())]
    mean = float(np.mean(by_set)) if by_set else np.nan
    low, high, kind = np.nan, np.nan, "none"
    bounds = difference_range(METRIC, 2)
    n = len(by_set) if len(by_set) > 1 else int(kept.sum())
    if 1 < n < LEAST_SPLITS:
        kind = "too few"
    elif len(by_set) > 1:
        set_sizes = sizes(runs)
        if not any(by_set):
            # As for a modality that the model does not use.
            low, high = 0.0, 0.0
        elif set_sizes is not None:
            corrected = corrected_resampled_difference(
                by_set, n_train=set_sizes[0], n_test=set_sizes[1], level=level, bounds=bounds
            )
            low, high = corrected.low, corrected.high
        kind = "folds" if math.isfinite(low) else "none"
    elif n > 1:
        student = need("scipy.stats", "bench").t(int(kept.sum()) - 1)
        reach = float(student.ppf((1 + level) / 2)) * sd / math.sqrt(kept.sum())
        (low, high), kind = within(mean, reach, bounds), "seeds"
    return Score(mean, sd, low, high, np.nan, points), kind


def _sd(values: Floats) -> float:
    kept = values[np.isfinite(values)]
    return float(kept.std(ddof=1)) if len(kept) > 1 else np.nan
