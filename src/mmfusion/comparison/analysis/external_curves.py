"""Curves of a run on another table, and on its own test set."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmfusion.comparison.analysis.curve_data import Confusion, Curve, Curves
from mmfusion.comparison.analysis.curves import curves
from mmfusion.comparison.analysis.judged import Judged
from mmfusion.comparison.analysis.resampling import N_CURVES, sample
from mmfusion.comparison.finished_run import FinishedRun
from mmfusion.experiments.external.scores import LabelledCases
from mmfusion.experiments.held_out_cases import Cases
from mmfusion.experiments.locked import Locked
from mmfusion.experiments.settings import RunSettings, Settings
from mmfusion.metrics.curves import GRID, pointwise_band, risk_coverage_curve
from mmfusion.metrics.ranking import divide


@dataclass(frozen=True)
class ExternalCurves:
    """Curves of one run on some cases, at its threshold and temperature.

    Attributes:
        curves: ROC, precision-recall, reliability and decision curves.
        risk_coverage: Wrong labels by the share of the cases that is decided.
        confusion: Truth by row, the label by column.
        n_cases: Cases.
    """

    curves: Curves
    risk_coverage: Curve
    confusion: Confusion
    n_cases: int


def external_curves(
    cases: LabelledCases, locked: Locked, classes: tuple[str, ...], *, level: float = 0.95, seed: int = 0
) -> ExternalCurves:
    """All curves, with pointwise bands for other cases.

    Args:
        cases: With finite probabilities.
        locked: Threshold and temperature.
        classes: Names, in order.
        level: Coverage of the bands.
        seed: Of the bootstrap.
    """
    n = len(cases.labels)
    # The cases as a comparison has them: its curves are drawn from runs.
    ids = np.array([f"{i:09d}" for i in range(n)])
    test = Cases(ids, np.array(cases.groups, dtype=str), cases.labels, cases.probabilities)
    nothing = (None, None, None, None, None)
    run = FinishedRun(Path(), Settings(RunSettings("run")), None, classes, 0, 0, test, None, {}, *nothing)
    judged = Judged(run, test, locked.threshold, locked.temperature)
    sampled = sample([judged], n_resamples=N_CURVES, seed=seed)[0]
    weights = np.concatenate([np.ones((n, 1)), sampled.weights], axis=1)
    labels = locked.labels(cases.probabilities)
    drawn, area = risk_coverage_curve(locked.confidence(cases.probabilities), labels != cases.labels, weights)
    low, high = pointwise_band(drawn[1:], level)
    k = len(classes)
    counts = np.bincount(cases.labels * k + labels, minlength=k * k).reshape(k, k).astype(np.float64)
    return ExternalCurves(
        curves([sampled], level),
        Curve("risk", GRID, drawn[0], low, high, area),
        Confusion(counts, divide(counts, counts.sum(axis=1, keepdims=True))),
        n,
    )
