"""Results of a run, as JSON and as a table with its sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfusion.experiments.rich_table import rich_table
from mmfusion.metrics.calibration import UNDETERMINED, apply_temperature, fit_temperature
from mmfusion.metrics.classification import best_threshold, evaluate, n_not_finite
from mmfusion.metrics.definitions import undefined_sentence, without_cases
from mmfusion.metrics.intervals import Estimate, calibration_estimates, estimates

_REFERENCE_COLUMNS = ("auc", "average_precision", "balanced_accuracy", "log_loss")
_UNDEFINED = Estimate(np.nan, np.nan, np.nan, np.nan)
_INTERVALS = (
    "95% intervals for other test cases only. Another training run differs too: compare methods over several seeds."
)


def summarize(
    probabilities: Mapping[str, NDArray[np.float64]],
    labels: Mapping[str, NDArray[np.int64]],
    groups: Mapping[str, Sequence[str]],
    *,
    names: Sequence[str],
    ceilings: Mapping[str, float],
    resamples: int,
    seed: int,
    threshold: float | None = None,
    extra: Sequence[str] = (),
) -> dict[str, Any]:
    """Metrics with intervals of ``validation`` and ``test``.

    Args:
        probabilities: By part, shape ``(n, k)``; without ``test``, the summary has no metrics of it.
        labels: By part, shape ``(n,)``.
        groups: By part, the patient or lesion of each case.
        names: Of the classes.
        ceilings: ``image``, ``table`` and ``both``, where they are known.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
        threshold: Of two classes; None: the one with the greatest G-mean on validation.
        extra: As for :func:`~mmfusion.metrics.classification.evaluate`.

    Returns:
        JSON-able: ``threshold``, and whether validation chose it (it cannot where it lacks a class: 0.5, and
        ``threshold_undefined``), a part's metrics by its name, ``temperature``, fitted on validation, with the parts'
        calibration at it in ``scaled``, and ``gap_closed`` where there are ceilings. Where
        probabilities are not finite, ``not_finite`` has the number of such cases by part; the metrics of that part are
        undefined, since without these cases they would flatter.
    """
    not_finite = {part: n for part, p in probabilities.items() if (n := n_not_finite(p))}
    chosen = threshold is None
    blind = chosen and len(names) == 2 and bool(without_cases(labels["validation"], names))
    if len(names) != 2:
        threshold = None
    elif threshold is None and "validation" not in not_finite:
        threshold = best_threshold(probabilities["validation"], labels["validation"])
    sets = {
        part: _undefined(names, extra)
        if part in not_finite
        else estimates(
            probabilities[part],
            labels[part],
            groups[part],
            threshold=0.5 if threshold is None else threshold,
            names=names,
            extra=extra,
            n_resamples=resamples,
            seed=seed,
        )
        for part in probabilities
    }
    if len(names) == 2 and threshold is None and "test" in sets:
        # Without validation there is no threshold, and nothing that depends on it.
        sets["test"] |= dict.fromkeys(("sensitivity", "specificity", "g_mean"), _UNDEFINED)
    summary: dict[str, Any] = {
        "threshold": threshold,
        "threshold_chosen": chosen and threshold is not None and not blind,
        **({"threshold_undefined": True} if blind else {}),
        "cases": {part: len(labels[part]) for part in sets},
        "groups": {part: len(set(groups[part])) for part in sets},
        **({"not_finite": not_finite} if not_finite else {}),
    }
    summary |= {part: {name: value.to_dict() for name, value in metrics.items()} for part, metrics in sets.items()}
    summary |= {"temperature": None, "scaled": {}}
    if not not_finite:
        temperature = fit_temperature(probabilities["validation"], labels["validation"])
        summary["temperature"] = temperature
        for part in sets:
            scaled = apply_temperature(probabilities[part], temperature)
            calibrated = calibration_estimates(scaled, labels[part], groups[part], n_resamples=resamples, seed=seed)
            summary["scaled"][part] = {name: value.to_dict() for name, value in calibrated.items()}
    gap = gap_closed(sets["test"]["auc"], ceilings) if "test" in sets else None
    return summary | {"ceilings": dict(ceilings), "gap_closed": gap}


def _undefined(names: Sequence[str], extra: Sequence[str]) -> dict[str, Estimate]:
    """Every metric of these classes, undefined."""
    k = len(names)
    return dict.fromkeys(evaluate(np.full((k, k), 1 / k), np.arange(k), names=names, extra=extra), _UNDEFINED)


def gap_closed(auc: Estimate, ceilings: Mapping[str, float]) -> dict[str, float | None] | None:
    """How far the AUC goes from the better ceiling of one modality (0) to the ceiling of both (1).

    Returns:
        The share with its interval; None where a ceiling is unknown or there is no gap.
    """
    if not {"image", "table", "both"} <= set(ceilings):
        return None
    single = max(ceilings["image"], ceilings["table"])
    gap = ceilings["both"] - single
    if gap <= 0:
        return None
    share = Estimate((auc.value - single) / gap, (auc.low - single) / gap, (auc.high - single) / gap, auc.error / gap)
    return share.to_dict()


def title(metrics: Mapping[str, Any]) -> str:
    """Model, dataset and seed of a run."""
    return f"{metrics['model']} on {metrics['dataset']}, seed {metrics['seed']}"


def frame(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """The final table, as text: each metric on test, where it was evaluated, and on validation, with its 95% interval
    and, for the AUC of synthetic data, the ceilings.

    Args:
        metrics: As in ``metrics.json``.
    """
    cases, groups, ceilings = metrics["cases"], metrics["groups"], metrics["ceilings"]
    columns: dict[str, list[str]] = {}
    names = list(metrics["validation"])
    for part in ("test", "validation"):
        if part in metrics:
            grouped = f" in {groups[part]} groups" if groups[part] != cases[part] else ""
            columns[f"{part}\n{cases[part]} cases{grouped}"] = [interval_cell(metrics[part][name]) for name in names]
    if ceilings:
        of_auc = ", ".join(f"{key} {ceilings[key]:.3f}" for key in ceilings)
        columns["ceiling"] = [of_auc if name == "auc" else "" for name in names]
    return pd.DataFrame(columns, index=pd.Index(names, name="metric"))


def table(metrics: Mapping[str, Any]) -> Any:
    """:func:`frame` as a ``rich.table.Table``, whose caption says which source of error the intervals hold."""
    rows = frame(metrics)
    part = "test" if "test" in metrics else "validation"
    known = any(value["low"] is not None for value in metrics[part].values())
    cells = [[name, *row] for name, row in zip(rows.index, rows.to_numpy())]
    return rich_table(title(metrics), ["metric", *rows.columns], cells, caption=_INTERVALS if known else "")


def reference_table(metrics: Mapping[str, Any]) -> Any:
    """The run next to scikit-learn's reference rows on the table, for rich.

    Args:
        metrics: As in ``metrics.json``, with ``references``.

    Returns:
        A ``rich.table.Table``: one row per model, its test metrics in the columns, the AUC with its interval.
    """
    models = {metrics["model"]: metrics["test"]}
    models |= {f"{name}, table alone": row for name, row in metrics["references"].items()}
    rows = []
    for name, row in models.items():
        auc, *others = (row[metric] for metric in _REFERENCE_COLUMNS)
        rows.append([name, interval_cell(auc), *(interval_cell({**value, "low": None}) for value in others)])
    return rich_table("On the same test set", ("model", *_REFERENCE_COLUMNS), rows)


def sentences(metrics: Mapping[str, Any]) -> list[str]:
    """Sentences below the table."""
    lines = [
        f"The output for {n} of {metrics['cases'][part]} cases of the {part} set is not finite: they have no "
        "probabilities, and the metrics of this set are undefined."
        for part, n in metrics.get("not_finite", {}).items()
    ]
    lines += [line for part in ("test", "validation") if part in metrics and (line := _lacking(metrics, part))]
    if "test" not in metrics:
        return [*lines, "The test set was not evaluated (run.test=false).", *metrics["notes"]]
    lines += _ahead(metrics)
    if metrics["gap_closed"] and metrics["gap_closed"]["value"] is not None:
        lines.append(
            f"Share of the gap closed, from the better single ceiling to the ceiling of both: "
            f"{interval_cell(metrics['gap_closed'], percent=True)}."
        )
    if metrics["threshold"] is not None:
        origin = "the threshold of the settings"
        if metrics["threshold_chosen"]:
            origin = "the threshold with the greatest G-mean on validation"
        if metrics.get("threshold_undefined"):
            origin = "as validation, which lacks a class, chooses no threshold"
        lines.append(f"Sensitivity, specificity and G-mean at {metrics['threshold']:.3f}, {origin}.")
    if metrics.get("scaled") and metrics["temperature"] == UNDETERMINED:
        lines.append(
            "Probabilities are not scaled: validation determines no temperature, since its cases are of one class or "
            "all classified correctly."
        )
    elif metrics.get("scaled"):
        raw, scaled = metrics["test"], metrics["scaled"]["test"]
        lines.append(
            f"Scaled by the temperature {metrics['temperature']:.2f}, fitted on validation, the test set's ECE goes "
            f"from {raw['ece']['value']:.3f} to {scaled['ece']['value']:.3f} and its log loss from "
            f"{raw['log_loss']['value']:.3f} to {scaled['log_loss']['value']:.3f}."
        )
    if metrics.get("conformal", {}).get("test"):
        lines.append(_covered(metrics["conformal"]))
    # Where the AUC is undefined so is what it loses, which another sentence says.
    if "robustness" in metrics and metrics["test"]["auc"]["value"] is not None:
        lines += _contributions(metrics["robustness"])
    return [*lines, *metrics["notes"]]


def _covered(conformal: Mapping[str, Any]) -> str:
    """How the conformal sets do on the test set."""
    test, of_calibration = conformal["test"], conformal["calibration"]
    by_class = ", ".join(f"{name} {share['value']:.3f}" for name, share in test["of_class"].items())
    n, share = sum(of_calibration.values()), conformal["coverage"]
    few = [name for name, own in of_calibration.items() if (own + 1) * share > own + 1e-9]
    return (
        f"Conformal sets at {share:.0%}, from {n} calibration cases: {interval_cell(test['coverage'])} of the test "
        f"set's cases are covered ({by_class}); {test['single']:.0%} of the sets have one class."
        + (f" Too few calibration cases for {', '.join(few)}: every set has it." if few else "")
    )


def _ahead(metrics: Mapping[str, Any]) -> list[str]:
    """A sentence on the reference rows with a higher test AUC than the run's; none where there is no such row."""
    auc_of_run = metrics["test"]["auc"]["value"]
    rows = {name: row["auc"]["value"] for name, row in metrics.get("references", {}).items()}
    better = {
        name: auc for name, auc in rows.items() if auc_of_run is not None and auc is not None and auc > auc_of_run
    }
    if not better:
        return []
    listed = " and ".join(f"{name} ({auc:.3f})" for name, auc in better.items())
    return [
        f"On the table alone, {listed} {'has' if len(better) == 1 else 'have'} a higher test AUC than this model "
        f"({auc_of_run:.3f}): as trained here, the model gets less from the table than scikit-learn does."
    ]


def _lacking(metrics: Mapping[str, Any], part: str) -> str:
    """Which metrics a set's cases leave undefined, and why; empty where all are defined."""
    if part in metrics.get("not_finite", {}):
        return ""
    names = [name for name, value in metrics[part].items() if value["value"] is None]
    lacking = [name.removeprefix("accuracy_") for name in names if name.startswith("accuracy_")]
    return undefined_sentence(lacking, names, f"The {part} set") if lacking else ""


def _contributions(robustness: Mapping[str, Any]) -> list[str]:
    """Sentences on the contribution of each modality and on missing cells."""
    rows = robustness["rows"]
    lines = []
    for name in dict.fromkeys(row["modality"] for row in rows if row["modality"] is not None):
        drops = {row["kind"]: row["drop"] for row in rows if row["modality"] == name}
        lines.append(
            f"Without {name!r} the test AUC {_moved(drops['without'])}; with its rows exchanged between cases it "
            f"{_moved(drops['permuted'])}."
        )
    if robustness["area"] is not None:
        cells = [row for row in rows if row["kind"] == "cells"]
        lines.append(
            f"With {cells[0]['share']:.0%} to {cells[-1]['share']:.0%} of the table's cells missing the test AUC goes "
            f"from {cells[0]['auc']:.3f} to {cells[-1]['auc']:.3f}; on average it is {robustness['area']:.3f}."
        )
    return lines


def _moved(drop: float | None) -> str:
    if drop is None:
        return "is undefined"
    if f"{abs(drop):.3f}" == "0.000":
        return "stays the same"
    return f"{'falls' if drop > 0 else 'rises'} by {abs(drop):.3f}"


def interval_cell(value: Mapping[str, float | None], *, percent: bool = False) -> str:
    """``0.936 (0.923 to 0.948)`` of :meth:`.Estimate.to_dict`; without what is unknown."""
    point, low, high = value["value"], value["low"], value["high"]
    if point is None:
        return "undefined"
    form = "{:.0%}" if percent else "{:.3f}"
    interval = "" if low is None or high is None else f" ({form.format(low)} to {form.format(high)})"
    return form.format(point) + interval
