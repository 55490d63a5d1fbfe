"""Metrics under missing and exchanged inputs: the rows of ``robustness.json``."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfusion.experiments.robustness import Condition, Outputs
from mmfusion.metrics.bootstrap import resample
from mmfusion.metrics.cases import TestCases
from mmfusion.metrics.classification import evaluate, n_not_finite
from mmfusion.metrics.definitions import keeping_classes
from mmfusion.metrics.differences import t_test
from mmfusion.metrics.intervals import Estimate
from mmfusion.metrics.ranking import Floats
from mmfusion.metrics.score_intervals import score_interval
from mmfusion.metrics.two_sources import resampled_error

FORMAT = 1
METRICS = ("auc", "average_precision", "accuracy", "balanced_accuracy", "log_loss", "brier")
N_RESAMPLES = 300
_UNDEFINED = Estimate(np.nan, np.nan, np.nan, np.nan)


def rows(
    outputs: Outputs,
    labels: NDArray[np.int64],
    groups: Sequence[str],
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Metrics under each condition, JSON-able.

    Args:
        outputs: From :func:`mmfusion.experiments.robustness.predict`.
        labels: Shape ``(n,)``.
        groups: The patient or lesion of each case.
        n_resamples: Of the bootstrap, the first of those that the run's other intervals are from; the same for all
            conditions, so that ``drop``, the AUC of the cases as they are less that under the condition, is paired.
        seed: Of the bootstrap.

    Returns:
        One entry per condition: ``kind``, ``modality``, ``share``, ``metrics`` and ``drop`` with intervals, and
        ``reason``: why the metrics are undefined, or None.
    """
    weights = [np.ones((1, len(labels))), *resample(labels, groups, n_resamples=n_resamples, seed=seed)]

    cases = TestCases.of(labels, groups, outputs.base.shape[1])

    def metrics_of(p: Floats) -> dict[str, Floats]:
        blocks = [keeping_classes(evaluate(p, labels, block), labels, block) for block in weights]
        return {name: np.concatenate([block[name] for block in blocks]) for name in METRICS}

    base = None if n_not_finite(outputs.base) else metrics_of(outputs.base)
    out = []
    for condition, p in outputs.under.items():
        metrics, drop, reason = dict.fromkeys(METRICS, _UNDEFINED), _UNDEFINED, None
        if isinstance(p, str):
            reason = p
        elif n := n_not_finite(p):
            reason = f"the output for {n} of {len(p)} cases is not finite"
        else:
            values = base if base is not None and p is outputs.base else metrics_of(p)
            metrics = {name: _estimate(name, value, p, cases) for name, value in values.items()}
            if base is not None:
                drop = _drop(base["auc"] - values["auc"], cases)
        out.append(
            {
                **condition._asdict(),
                "metrics": {name: value.to_dict() for name, value in metrics.items()},
                "drop": drop.to_dict(),
                "reason": reason,
            }
        )
    return out


def area(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """The mean AUC over the shares of missing cells: the area under that curve, by trapezoids, over its width.

    Args:
        rows: From :func:`rows`.

    Returns:
        None without a table, or where an AUC is undefined.
    """
    curve = [(row["share"], row["metrics"]["auc"]["value"]) for row in rows if row["kind"] == "cells"]
    if not curve or any(value is None for _, value in curve):
        return None
    shares, values = np.array(curve, dtype=np.float64).T
    return float(np.trapezoid(values, shares) / (shares[-1] - shares[0]))


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """For ``metrics.json``: the area, and each condition's AUC and its drop as plain numbers."""
    return {
        "area": area(rows),
        "rows": [
            {name: row[name] for name in Condition._fields}
            | {"auc": row["metrics"]["auc"]["value"], "drop": row["drop"]["value"]}
            for row in rows
        ],
    }


def _estimate(name: str, values: Floats, p: Floats, cases: TestCases) -> Estimate:
    """The first value, with the others as its replicates."""
    found = score_interval(name, values[:1], values[None, 1:], cases, [p])
    return Estimate(float(values[0]), found.low, found.high, found.error)


def _drop(values: Floats, cases: TestCases) -> Estimate:
    error = resampled_error(values[:1], values[None, 1:], cases.n_groups - 1)
    tested = t_test(float(values[0]), float(error.error), float(error.degrees))
    return Estimate(tested.mean, tested.low, tested.high, float(error.error))
