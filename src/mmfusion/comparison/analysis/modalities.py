"""What missing cells and missing modalities do, aggregated over a method's runs.

A run tells intervals of its own test cases. Seeds share these cases, so that their intervals are averaged: that of
their mean is no wider. Test parts of different folds are independent, and their errors add up in squares.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmfusion.comparison.analysis.held_out import part_of, sizes
from mmfusion.comparison.analysis.scores import Contribution, Degradation, Score
from mmfusion.comparison.finished_run import FinishedRun
from mmfusion.metrics.definitions import difference_range
from mmfusion.metrics.intervals import LEAST_SPLITS, corrected_resampled_difference, within
from mmfusion.metrics.ranking import Floats, divide
from mmfusion.utils.optional import need

METRIC = "auc"
_NAMES = ("value", "low", "high", "error")


def degradation(runs: Sequence[FinishedRun]) -> Degradation | None:
    """The AUC by the share of missing cells; None where no run was asked, or there is no table."""
    found = [_cells(run) for run in runs]
    shares = sorted(set().union(*found))
    if len(shares) < 2:
        return None
    nothing = np.full(len(_NAMES), np.nan)
    # By run, share, and value, ends and error.
    values = np.array([[own.get(share, nothing) for share in shares] for own in found])
    x = np.array(shares)
    # The ends are the areas under the ends: as if the errors at all shares went together, which they nearly do.
    areas = np.trapezoid(values, x, axis=1) / (x[-1] - x[0])
    parts = [part_of(run) for run in runs]
    mean = _combined(values, parts)
    return Degradation(METRIC, x, mean[:, 0], mean[:, 1], mean[:, 2], values[:, :, 0], _score(areas, parts))


def contributions(runs: Sequence[FinishedRun], level: float) -> tuple[Contribution, ...]:
    """What each modality brings, in the order of the rows: taken away first, then exchanged between cases."""
    names: dict[tuple[str, str], None] = {}
    for run in runs:
        for row in run.robustness or ():
            if row["kind"] in ("without", "permuted") and row.get("modality") is not None:
                names[str(row["kind"]), str(row["modality"])] = None
    parts = [part_of(run) for run in runs]
    out = []
    for kind, modality in names:
        rows = [_row(run, kind, modality) for run in runs]
        left = np.array([_numbers(None if row is None else row["metrics"].get(METRIC)) for row in rows])
        whole = np.array([_whole(run) for run in runs])
        told = np.array([_numbers(None if row is None else row.get("drop")) for row in rows])
        drops = np.where(np.isfinite(told[:, 0]), told[:, 0], whole[:, 0] - left[:, 0])
        kept = np.isfinite(drops)
        if kept.any() and np.isfinite(told[kept, 1:3]).all():
            drop, interval = _score(np.column_stack([drops, told[:, 1:]]), parts), "cases"
        else:
            drop, interval = _over_runs(drops, runs, parts, level)
        out.append(Contribution(modality, kind, _score(left, parts), drop, interval))
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
    """The AUC of the cases as they are, from the same rows where they have it."""
    found = _cells(run).get(0.0)
    if found is not None and math.isfinite(found[0]):
        return found
    test = run.metrics.get("test")
    return _numbers(test.get(METRIC) if isinstance(test, Mapping) else None)


def _numbers(estimate: Any) -> Floats:
    """Value, ends and error; NaN for what is undefined."""
    values = estimate if isinstance(estimate, Mapping) else {}
    return np.array([x if isinstance(x := values.get(name), int | float) else np.nan for name in _NAMES], np.float64)


def _means(values: Floats) -> Floats:
    """Over the first axis, of what is defined; NaN where nothing is."""
    defined = np.isfinite(values)
    total, n = np.where(defined, values, 0.0).sum(axis=0), defined.sum(axis=0)
    return divide(total, n.astype(np.float64))


def _combined(values: Floats, parts: Sequence[str]) -> Floats:
    """Mean over the runs where there is a value, with the ends and the error of this mean.

    Args:
        values: Shape ``(runs, ..., 4)``: value, ends and error.
        parts: The test part of each run.

    Returns:
        Shape ``(..., 4)``; NaN ends where some part has none.
    """
    defined = np.isfinite(values[..., 0])
    # How far the ends are from the value, and its error.
    reach = np.stack([values[..., 0] - values[..., 1], values[..., 2] - values[..., 0], values[..., 3]], axis=-1)
    reach = np.where(defined[..., None], reach, np.nan)
    squares = np.zeros(reach.shape[1:])
    for part in dict.fromkeys(parts):
        own = np.array([one == part for one in parts])
        n = defined[own].sum(axis=0)[..., None]
        squares += np.where(n > 0, (n * _means(reach[own])) ** 2, 0.0)
    n_runs = defined.sum(axis=0)[..., None].astype(np.float64)
    low, high, error = np.moveaxis(divide(np.sqrt(squares), n_runs), -1, 0)
    mean = _means(values[..., 0])
    return np.stack([mean, mean - low, mean + high, error], axis=-1)


def _score(values: Floats, parts: Sequence[str]) -> Score:
    """Of rows of value, ends and error, one a run, whose test parts are told."""
    mean, low, high, error = _combined(values, parts).tolist()
    return Score(mean, _sd(values[:, 0]), low, high, error, tuple(values[:, 0].tolist()))


def _over_runs(values: Floats, runs: Sequence[FinishedRun], parts: Sequence[str], level: float) -> tuple[Score, str]:
    """With an interval from how the runs differ, for runs that tell none of their own, and of what kind it is.

    Over several test parts that of Nadeau and Bengio, on the mean of each part's seeds; over the seeds of one part
    Student's, which is of other seeds on the same cases. Fewer than :data:`LEAST_SPLITS` parts or seeds have none.
    """
    kept = np.isfinite(values)
    sd, points = _sd(values), tuple(values.tolist())
    having = dict.fromkeys(part for part, is_kept in zip(parts, kept) if is_kept)
    by_part = [float(np.mean([v for v, one in zip(values[kept], np.array(parts)[kept]) if one == p])) for p in having]
    mean = float(np.mean(by_part)) if by_part else np.nan
    low, high, kind = np.nan, np.nan, "none"
    bounds = difference_range(METRIC, 2)
    n = len(by_part) if len(by_part) > 1 else int(kept.sum())
    if 1 < n < LEAST_SPLITS:
        kind = "too few"
    elif len(by_part) > 1:
        of_parts = sizes(runs)
        if not any(by_part):
            # As where the model does not look at the modality.
            low, high = 0.0, 0.0
        elif of_parts is not None:
            found = corrected_resampled_difference(
                by_part, n_train=of_parts[0], n_test=of_parts[1], level=level, bounds=bounds
            )
            low, high = found.low, found.high
        kind = "folds" if math.isfinite(low) else "none"
    elif n > 1:
        student = need("scipy.stats", "bench").t(int(kept.sum()) - 1)
        reach = float(student.ppf((1 + level) / 2)) * sd / math.sqrt(kept.sum())
        (low, high), kind = within(mean, reach, bounds), "seeds"
    return Score(mean, sd, low, high, np.nan, points), kind


def _sd(values: Floats) -> float:
    kept = values[np.isfinite(values)]
    return float(kept.std(ddof=1)) if len(kept) > 1 else np.nan
