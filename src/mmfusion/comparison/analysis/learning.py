"""Training of a method's runs: learning curves, cost, and needs beyond the equal budget."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmfusion.comparison.analysis.curve_data import LearningCurve
from mmfusion.comparison.analysis.results import Cost
from mmfusion.comparison.finished_run import FinishedRun

_SAME_NAMES = ("flops_per_case", "epochs", "train_cases_per_second", "inference_cases_per_second", "peak_memory_bytes")
"""Costs that a run and a report name alike."""


def learning(runs: Sequence[FinishedRun]) -> tuple[LearningCurve, ...]:
    """One curve per run that has a history."""
    curves = []
    for run in runs:
        if not run.history:
            continue
        metric, chosen = run.settings.train.metric, run.metrics.get("chosen")
        epoch = chosen.get("epoch") if isinstance(chosen, Mapping) else None
        losses = [
            [value for value in entry["losses"].values() if math.isfinite(_value(value))] for entry in run.history
        ]
        curves.append(
            LearningCurve(
                seed=run.seed,
                fold=run.fold,
                metric=metric,
                epochs=np.array([entry["epoch"] for entry in run.history], dtype=np.float64),
                validation=np.array([_value(entry["validation"].get(metric)) for entry in run.history]),
                loss=np.array([sum(values) if values else np.nan for values in losses]),
                phases=tuple(str(entry.get("phase", "")) for entry in run.history),
                chosen=epoch if isinstance(epoch, int) else None,
            )
        )
    return tuple(curves)


def cost(runs: Sequence[FinishedRun]) -> Cost | None:
    """Means over the runs; None if no run recorded its cost."""
    costs = [run.metrics["cost"] for run in runs if run.metrics.get("cost")]
    if not costs:
        return None

    parameters = [counts for run in costs if isinstance(counts := run.get("parameters"), Mapping)]

    def mean(key: str, mappings: Sequence[Mapping[str, Any]] = costs) -> float:
        values = [value for mapping in mappings if math.isfinite(value := _value(mapping.get(key)))]
        return float(np.mean(values)) if values else np.nan

    return Cost(
        parameters=mean("total", parameters),
        trainable=mean("trainable", parameters),
        train_seconds=mean("seconds"),
        **{name: mean(name) for name in _SAME_NAMES},
        devices=tuple(sorted({hardware(run) for run in runs} - {""})),
    )


def beyond(runs: Sequence[FinishedRun]) -> str | None:
    """Needs of a method beyond the equal budget, in words; None for none."""
    needs = []
    phases = {str(entry.get("phase")): None for run in runs for entry in run.history or ()}
    budget = runs[0].settings.train.epochs
    epochs = max((_value(run.metrics.get("cost", {}).get("epochs")) for run in runs), default=np.nan)
    if len(phases) > 1:
        first = ", ".join(list(phases)[:-1])
        needs.append(f"a phase before the supervised one ({first})")
    if math.isfinite(epochs) and epochs > budget:
        needs.append(f"{epochs:.0f} epochs in all, the budget is {budget}")
    return "; ".join(needs) or None


def hardware(run: FinishedRun) -> str:
    """GPU or processor; empty if the run does not record it."""
    environment = run.environment or {}
    return str(environment.get("gpu") or environment.get("processor") or "")


def _value(value: Any) -> float:
    """A number; NaN for anything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
