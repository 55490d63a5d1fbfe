"""Numbers of a report as CSV, one row per number, so that every comparison fits into one file.

Only the points of curves are rounded.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mmfusion.comparison.analysis.across import across_datasets
from mmfusion.comparison.analysis.results import Analysis, Comparison, Method
from mmfusion.comparison.analysis.scores import Score
from mmfusion.comparison.report.chapters import settings
from mmfusion.experiments.spreadsheet import write_rows

Rows = Iterator[dict[str, Any]]


def tables(analysis: Analysis, skipped: Mapping[str, str], *, formulas: bool = False) -> dict[str, str]:
    """Files by their names; files without rows are left out.

    Args:
        analysis: The numbers.
        skipped: By folder, why it was left out.
        formulas: Leave texts unchanged that a spreadsheet program would compute; see
            :mod:`mmfusion.experiments.spreadsheet`.
    """
    out = {f"{name}.csv": _text(list(rows(analysis)), formulas) for name, rows in _TABLES.items()}
    out["skipped.csv"] = _text([{"folder": folder, "reason": reason} for folder, reason in skipped.items()], formulas)
    return {name: text for name, text in out.items() if text}


def _text(rows: Sequence[Mapping[str, Any]], formulas: bool) -> str:
    if not rows:
        return ""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = ([_cell(row.get(name)) for name in columns] for row in rows)
    return write_rows([columns, *cells], formulas=formulas)


def _cell(value: Any) -> Any:
    """The value; empty if it is unknown."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return float(value) if isinstance(value, float) else value


def _methods(analysis: Analysis) -> Iterator[tuple[dict[str, Any], Comparison, Method]]:
    for comparison in analysis.comparisons:
        for method in comparison.methods:
            yield {"comparison": comparison.name, "method": method.label}, comparison, method


def _score(score: Score) -> dict[str, float]:
    return {name: getattr(score, name) for name in ("mean", "sd", "low", "high", "error")}


def _ranking(analysis: Analysis) -> Rows:
    for head, comparison, method in _methods(analysis):
        ranked = {
            "rank": None if method.whole is not None else comparison.methods.index(method) + 1,
            "rank_best": None if method.ranks is None else method.ranks[0],
            "rank_worst": None if method.ranks is None else method.ranks[1],
            "whole": method.whole,
            "model": method.model,
            "reference": int(method.is_reference),
            "runs": len(method.runs),
        }
        for metric, score in method.scores.items():
            yield head | ranked | {"metric": metric} | _score(score)


def _ensembles(analysis: Analysis) -> Rows:
    for comparison in analysis.comparisons:
        for ensemble in comparison.ensembles:
            head = {"comparison": comparison.name, "ensemble_of": ensemble.label, "models": min(ensemble.sizes)}
            for metric, score in ensemble.scores.items():
                values = {"value": score.mean, "low": score.low, "high": score.high}
                yield head | {"metric": metric} | values | {"mean_of_models": ensemble.single[metric]}


def _runs(analysis: Analysis) -> Rows:
    for head, _, method in _methods(analysis):
        for number, run in enumerate(method.runs):
            origin = {"folder": run.folder, "seed": run.seed, "fold": run.fold, "cases": run.n_cases}
            values = {name: score.points[number] for name, score in method.scores.items() if number < len(score.points)}
            yield head | origin | {"threshold": run.threshold, "temperature": run.temperature} | values


def _tests(analysis: Analysis) -> Rows:
    names = {"kind": "test", "n_runs": "pairs", "reason": "no_interval"}
    for comparison in analysis.comparisons:
        for test in (*comparison.tests, *comparison.ablation_tests):
            values = dataclasses.asdict(test)
            del values["better"]
            head = {"comparison": comparison.name, "margin": comparison.margin, "verdict": test.verdict}
            yield head | {names.get(key, key): value for key, value in values.items()}


def _subgroups(analysis: Analysis) -> Rows:
    for head, _, method in _methods(analysis):
        for group in method.subgroups:
            counts = {"by": group.by, "value": group.value, "cases": group.n_cases, "groups": group.n_groups}
            for metric, score in group.scores.items():
                yield head | counts | {"metric": metric} | _score(score)


def _gaps(analysis: Analysis) -> Rows:
    for head, comparison, method in _methods(analysis):
        for gap in method.gaps:
            values = dataclasses.asdict(gap) | {"classes": ", ".join(gap.classes)}
            yield head | {"metric": comparison.metrics[0]} | values


def _robustness(analysis: Analysis) -> Rows:
    for head, _, method in _methods(analysis):
        curve = method.robustness
        if curve is None:
            continue
        for share, mean, low, high in zip(curve.shares, curve.mean, curve.low, curve.high):
            values = {"mean": float(mean), "low": float(low), "high": float(high)}
            yield head | {"metric": curve.metric, "what": "cells", "share": float(share)} | values
        area = {"mean": curve.area.mean, "low": curve.area.low, "high": curve.area.high}
        yield head | {"metric": curve.metric, "what": "area", "share": None} | area


def _contribution(analysis: Analysis) -> Rows:
    for head, _, method in _methods(analysis):
        for contribution in method.contributions:
            drop = contribution.drop
            values = {"left": contribution.left.mean, "drop": drop.mean, "low": drop.low, "high": drop.high}
            yield head | {"modality": contribution.modality, "what": contribution.kind} | values


def _calibration(analysis: Analysis) -> Rows:
    for head, _, method in _methods(analysis):
        for metric in ("brier", "ece", "log_loss"):
            for which, scores in (("raw", method.scores), ("scaled", method.scaled)):
                if metric in scores:
                    yield head | {"metric": metric, "probabilities": which} | _score(scores[metric])


def _confusion(analysis: Analysis) -> Rows:
    for head, comparison, method in _methods(analysis):
        for row, truth in enumerate(comparison.classes):
            for column, called in enumerate(comparison.classes):
                counts = float(method.confusion.counts[row, column])
                shares = float(method.confusion.shares[row, column])
                yield head | {"true": truth, "called": called, "cases": counts, "share": shares}


def _curves(analysis: Analysis) -> Rows:
    for head, comparison, method in _methods(analysis):
        for name in ("roc", "precision_recall", "reliability", "reliability_scaled", "net_benefit"):
            for curve in getattr(method.curves, name):
                shares = np.full(len(curve.x), np.nan) if curve.share is None else curve.share
                for x, y, low, high, share in zip(curve.x, curve.y, curve.low, curve.high, shares):
                    # A picture needs no more digits, and there are many points.
                    values = {"x": x, "y": y, "low": low, "high": high, "cases": share * comparison.n_cases}
                    numbers = {key: round(float(value), 6) for key, value in values.items()}
                    yield head | {"curve": name, "class": curve.of} | numbers


def _learning(analysis: Analysis) -> Rows:
    for head, _, method in _methods(analysis):
        for curve in method.learning:
            origin = {"seed": curve.seed, "fold": curve.fold, "metric": curve.metric}
            for epoch, value, loss, phase in zip(curve.epochs, curve.validation, curve.loss, curve.phases):
                chosen = int(curve.chosen is not None and epoch == curve.chosen)
                values = {"epoch": int(epoch), "phase": phase, "validation": float(value), "loss": float(loss)}
                yield head | origin | values | {"chosen": chosen}


def _cost(analysis: Analysis) -> Rows:
    for head, _, method in _methods(analysis):
        if method.cost is not None:
            yield head | dataclasses.asdict(method.cost) | {"devices": ", ".join(method.cost.devices)}


def _noise(analysis: Analysis) -> Rows:
    for head, _, method in _methods(analysis):
        if method.noise is not None:
            counts = {"starts": method.noise.starts, "seeds": method.noise.seeds}
            for part, spread in (("validation", method.noise.validation), ("test", method.noise.test)):
                values = {"mean": spread.mean, "sd_starts": spread.within, "sd_seeds": spread.over}
                yield head | counts | {"part": part, "metric": "auc"} | values


def _settings(analysis: Analysis) -> Rows:
    """The settings of all methods once, without a method's name; then each method's own."""
    for comparison in analysis.comparisons:
        for name, value in (settings.flatten(comparison.shared) | settings.common(comparison)).items():
            yield {"comparison": comparison.name, "method": "", "setting": name, "value": value, "changed": None}
    for head, comparison, method in _methods(analysis):
        changed = settings.changed(method)
        for name, value in settings.of_method(comparison, method).items():
            yield head | {"setting": name, "value": value, "changed": int(name in changed)}


def _across_datasets(analysis: Analysis) -> Rows:
    over = across_datasets(analysis.comparisons, analysis.level)
    if over is None:
        return
    for standing in over.methods:
        of_all = {"mean_rank": standing.rank, "mean_difference": standing.difference}
        of_all |= {} if standing.against is None else standing.against._asdict()
        for name, score, rank in zip(over.datasets, standing.scores, standing.ranks, strict=True):
            yield {"method": standing.label, "comparison": name, "score": score, "rank": rank, **of_all}


_TABLES: Mapping[str, Callable[[Analysis], Rows]] = {
    "ranking": _ranking,
    "ensembles": _ensembles,
    "runs": _runs,
    "tests": _tests,
    "subgroups": _subgroups,
    "gaps": _gaps,
    "robustness": _robustness,
    "contribution": _contribution,
    "calibration": _calibration,
    "confusion": _confusion,
    "curves": _curves,
    "learning": _learning,
    "cost": _cost,
    "noise": _noise,
    "settings": _settings,
    "across_datasets": _across_datasets,
}
NAMES = (*_TABLES, "skipped")
"""Names of all files, without ``.csv``."""
