"""What missing cells and missing modalities do, aggregated over a method's runs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmfusion.benchmark.analysis.results import Contribution, Degradation, Score
from mmfusion.benchmark.collect import FinishedRun
from mmfusion.layers.optional import need
from mmfusion.training.ranking import Floats, divide

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
    mean = _means(values)
    return Degradation(METRIC, x, mean[:, 0], mean[:, 1], mean[:, 2], values[:, :, 0], _score(areas))


def contributions(runs: Sequence[FinishedRun], level: float) -> tuple[Contribution, ...]:
    """What each modality brings, in the order of the rows: taken away first, then exchanged between cases."""
    names: dict[tuple[str, str], None] = {}
    for run in runs:
        for row in run.robustness or ():
            if row["kind"] in ("without", "permuted") and row.get("modality") is not None:
                names[str(row["kind"]), str(row["modality"])] = None
    out = []
    for kind, modality in names:
        rows = [_row(run, kind, modality) for run in runs]
        left = np.array([_numbers(None if row is None else row["metrics"].get(METRIC)) for row in rows])
        whole = np.array([_whole(run) for run in runs])
        told = np.array([_numbers(None if row is None else row.get("drop")) for row in rows])
        drops = np.where(np.isfinite(told[:, 0]), told[:, 0], whole[:, 0] - left[:, 0])
        score, interval = _drop(drops, told, level)
        out.append(Contribution(modality, kind, _score(left), score, interval))
    return tuple(out)


def _drop(drops: Floats, told: Floats, level: float) -> tuple[Score, str]:
    """With the mean of the runs' own paired intervals; Student's over the runs where they have none."""
    kept = np.isfinite(drops)
    if kept.any() and np.isfinite(told[kept, 1:3]).all():
        return _score(np.column_stack([drops, told[:, 1:]])), "cases"
    return _over_runs(drops, level), "runs"


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


def _score(values: Floats) -> Score:
    """Of rows of value, ends and error, one a run."""
    mean, low, high, error = _means(values).tolist()
    return Score(mean, _sd(values[:, 0]), low, high, error, tuple(values[:, 0].tolist()))


def _over_runs(values: Floats, level: float) -> Score:
    """With Student's interval over the runs."""
    kept = values[np.isfinite(values)]
    points = tuple(values.tolist())
    if not len(kept):
        return Score(np.nan, np.nan, np.nan, np.nan, np.nan, points)
    mean, sd = float(kept.mean()), _sd(values)
    if len(kept) < 2:
        return Score(mean, sd, np.nan, np.nan, np.nan, points)
    error = sd / math.sqrt(len(kept))
    reach = float(need("scipy.stats", "bench").t(len(kept) - 1).ppf((1 + level) / 2)) * error
    return Score(mean, sd, mean - reach, mean + reach, error, points)


def _sd(values: Floats) -> float:
    kept = values[np.isfinite(values)]
    return float(kept.std(ddof=1)) if len(kept) > 1 else np.nan
