"""Effect of missing cells and missing modalities, aggregated over a method's runs.

Each run has intervals for its test cases. Seeds share these cases, so that their intervals are averaged: that of their
mean is no wider. Test sets of different folds are independent, and the squares of their errors add up.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmfusion.comparison.analysis.held_out import test_set_of
from mmfusion.comparison.analysis.scores import Contribution, Degradation, Score
from mmfusion.comparison.finished_run import FinishedRun
from mmfusion.metrics.ranking import Floats, divide

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


def contributions(runs: Sequence[FinishedRun]) -> tuple[Contribution, ...]:
    """AUC that each modality brings, in the order of the rows: without it first, then with its rows permuted."""
    by_run = [
        {
            (str(row["kind"]), str(row["modality"])): row
            for row in run.robustness or ()
            if row.get("modality") is not None
        }
        for run in runs
    ]
    test_sets = [test_set_of(run) for run in runs]
    out = []
    for key in dict.fromkeys(key for rows in by_run for key in rows):
        rows = [of_run.get(key, {}) for of_run in by_run]
        left = np.array([_numbers(row.get("metrics", {}).get(METRIC)) for row in rows])
        drop = np.array([_numbers(row.get("drop")) for row in rows])
        out.append(Contribution(key[1], key[0], _score(left, test_sets), _score(drop, test_sets)))
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


def _sd(values: Floats) -> float:
    kept = values[np.isfinite(values)]
    return float(kept.std(ddof=1)) if len(kept) > 1 else np.nan
