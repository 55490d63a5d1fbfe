"""Numerical noise of a method, from the predictions of its runs and their repeats."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmfusion.comparison.finished_run import FinishedRun
from mmfusion.comparison.numerical_noise import Noise, noise
from mmfusion.experiments.held_out_cases import Cases
from mmfusion.metrics.classification import evaluate

Repeats = Mapping[Path, Sequence[FinishedRun]]
"""By the folder of a run, its repeats; from :func:`~mmfusion.comparison.collect.collect`."""


def repeated(runs: Sequence[FinishedRun], repeats: Repeats) -> Noise | None:
    """Spread of the AUC over the starts of each seed, and over seeds; None if no run has repeats.

    Args:
        runs: Of one method.
        repeats: Repeats of these and other runs.
    """
    return noise(
        {
            (run.fold, run.seed): [
                (_auc(start.validation), _auc(start.test)) for start in (run, *repeats.get(run.folder, ()))
            ]
            for run in runs
        }
    )


def _auc(cases: Cases | None) -> float:
    """NaN if it is undefined or the predictions were not kept."""
    return math.nan if cases is None else float(evaluate(cases.probabilities, cases.labels)["auc"].item())
