"""Effect of missing cells and missing modalities, aggregated over a method's runs.

Each run has its standard error for other test cases. Seeds share these cases, so that their errors are averaged: that
of their mean is no greater. To its square the variance between the training runs is added, as to any mean over runs.
Over folds there is one mean per test set, and the variance is that between these.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmfusion.comparison.analysis.held_out import sizes, test_set_of
from mmfusion.comparison.analysis.scores import Contribution, Degradation, Score
from mmfusion.comparison.finished_run import FinishedRun
from mmfusion.metrics.differences import LEAST_SPLITS, t_test
from mmfusion.metrics.ranking import Floats, divide
from mmfusion.metrics.score_intervals import scale_interval
from mmfusion.metrics.two_sources import two_source_error

METRIC = "auc"
_NAMES = ("value", "low", "high", "error")


def degradation(runs: Sequence[FinishedRun], level: float = 0.95) -> Degradation | None:
    """The AUC by the share of missing cells; None if no run was evaluated with missing cells."""
    by_share = [_cells(run) for run in runs]
    shares = sorted(set().union(*by_share))
    if len(shares) < 2:
        return None
    nothing = np.full(len(_NAMES), np.nan)
    # By run, share, and value, ends and error.
    values = np.array([[values.get(share, nothing) for share in shares] for values in by_share])
    x = np.array(shares)
    # The error is the mean of the errors: as if those at all shares went together, which they nearly do.
    areas = np.trapezoid(values, x, axis=1) / (x[-1] - x[0])
    mean = np.array([_combined(values[:, at], runs, level) for at in range(len(x))])
    return Degradation(METRIC, x, mean[:, 0], mean[:, 1], mean[:, 2], values[:, :, 0], _score(areas, runs, level))


def contributions(runs: Sequence[FinishedRun], level: float = 0.95) -> tuple[Contribution, ...]:
    """AUC that each modality brings, in the order of the rows: without it first, then with its rows permuted."""
    by_run = [
        {
            (str(row["kind"]), str(row["modality"])): row
            for row in run.robustness or ()
            if row.get("modality") is not None
        }
        for run in runs
    ]
    out = []
    for key in dict.fromkeys(key for rows in by_run for key in rows):
        rows = [of_run.get(key, {}) for of_run in by_run]
        left = np.array([_numbers(row.get("metrics", {}).get(METRIC)) for row in rows])
        drop = np.array([_numbers(row.get("drop")) for row in rows])
        out.append(Contribution(key[1], key[0], _score(left, runs, level), _score(drop, runs, level, drop=True)))
    return tuple(out)


def _cells(run: FinishedRun) -> dict[float, Floats]:
    return {
        float(row["share"]): _numbers(row["metrics"].get(METRIC))
        for row in run.robustness or ()
        if row["kind"] == "cells" and isinstance(row.get("share"), int | float)
    }


def _numbers(estimate: Any) -> Floats:
    """Value, ends and error; NaN for what is undefined."""
    values = estimate if isinstance(estimate, Mapping) else {}
    return np.array([x if isinstance(x := values.get(name), int | float) else np.nan for name in _NAMES], np.float64)


def _means(values: Floats) -> Floats:
    """Means of the defined values over the first axis; NaN if none is defined."""
    defined = np.isfinite(values)
    total, n = np.where(defined, values, 0.0).sum(axis=0), defined.sum(axis=0)
    return divide(total, n.astype(np.float64))


def _combined(values: Floats, runs: Sequence[FinishedRun], level: float, *, drop: bool = False) -> Floats:
    """Mean over the runs that have a value, with the ends and the error of this mean.

    Args:
        values: Shape ``(runs, 4)``: value, ends and error.
        runs: The runs.
        level: Coverage of the interval.
        drop: Whether the values are differences, which may be negative.

    Returns:
        Shape ``(4,)``; NaN ends where a run has no error, or there are two test sets.
    """
    defined = np.isfinite(values[:, 0])
    mean = float(_means(values[:, 0]))
    nothing = np.array([mean, np.nan, np.nan, np.nan])
    sets = np.array([test_set_of(run) for run in runs])[defined]
    kept, known = values[defined], [run for run, has in zip(runs, defined) if has]
    if not len(kept) or not np.isfinite(kept[:, 3]).all():
        return nothing
    distinct = list(dict.fromkeys(sets.tolist()))
    of_cases = [float(kept[sets == name, 3].mean() ** 2) for name in distinct]
    if len(distinct) == 1:
        groups = len(set(known[0].test.groups.tolist()))
        # As if the cases moved all runs alike: their part in the variance between the runs is not known.
        found = two_source_error(kept[:, 0], of_cases[0], of_cases[0], groups - 1)
        error, degrees = float(found.error), float(found.degrees)
    elif len(distinct) < LEAST_SPLITS or (set_sizes := sizes(known)) is None:
        return nothing
    else:
        means = np.array([kept[sets == name, 0].mean() for name in distinct])
        corrected = (1 / len(distinct) + set_sizes[1] / set_sizes[0]) * means.var(ddof=1)
        error, degrees = float(np.sqrt(max(corrected, sum(of_cases) / len(distinct) ** 2))), len(distinct) - 1.0
    if drop:
        tested = t_test(mean, error, degrees, level=level)
        return np.array([mean, tested.low, tested.high, error])
    if not (np.isfinite(error) and error > 0 and 0 < mean < 1):
        return nothing
    return np.array([mean, *scale_interval(mean, error, degrees, (0.0, 1.0), level=level), error])


def _score(values: Floats, runs: Sequence[FinishedRun], level: float, *, drop: bool = False) -> Score:
    """Score of the rows ``value, low, high, error``, one per run."""
    mean, low, high, error = _combined(values, runs, level, drop=drop).tolist()
    return Score(mean, _sd(values[:, 0]), low, high, error, tuple(values[:, 0].tolist()))


def _sd(values: Floats) -> float:
    kept = values[np.isfinite(values)]
    return float(kept.std(ddof=1)) if len(kept) > 1 else np.nan
