"""The page of an external validation: one self-contained file, made of the report's parts."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmfusion.comparison.analysis.curve_data import Curve
from mmfusion.comparison.analysis.external_curves import ExternalCurves, external_curves
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.chapters.calibration import LEAST
from mmfusion.comparison.report.chapters.chapter import overall, thin
from mmfusion.comparison.report.curve_plot import Line, square
from mmfusion.comparison.report.forest_plot import Mark, Row, forest
from mmfusion.comparison.report.line_plot import Trend, trends
from mmfusion.comparison.report.matrix_plot import matrix
from mmfusion.comparison.report.palette import MUTED, REFERENCE, SERIES, Style
from mmfusion.comparison.report.rendering import rendered
from mmfusion.experiments.external import ExternalEvaluation, files
from mmfusion.experiments.external.scores import COVERAGES
from mmfusion.experiments.sharing import without_folders
from mmfusion.metrics.decision import THRESHOLDS, treat_all
from mmfusion.metrics.intervals import Estimate
from mmfusion.metrics.shared_classes import LEAST as LEAST_OF_CLASS
from mmfusion.training.result_files import write_text

HTML = "evaluation.html"
MOST_PAIRS = 20
"""Duplicates that are listed on the page; all are in ``duplicates.csv``."""

_HERE = Style(SERIES[0], "solid", "o", 2.2, True)
_OWN = REFERENCE._replace(line=(0, (6, 2)), width=1.6)
_OWN_NAME = "the run's test set"
_UNKNOWN = Estimate(np.nan, np.nan, np.nan, np.nan)


def write_evaluation(evaluation: ExternalEvaluation, folder: str | Path, *, formulas: bool = False) -> Path:
    """Write the page next to the numbers and the cases.

    Args:
        evaluation: The result.
        folder: Where; a former evaluation in it is replaced.
        formulas: As for :func:`mmfusion.experiments.external.files.write`.

    Returns:
        The page, which needs none of the other files.

    Raises:
        FileExistsError: As there.
        mmfusion.training.result_files.WriteError: As there.
    """
    page = render(evaluation)
    place = files.write(evaluation, folder, formulas=formulas)
    write_text(place / HTML, page)
    return place / HTML


def render(evaluation: ExternalEvaluation) -> str:
    """The page as HTML."""
    here, own = (
        external_curves(cases, evaluation.locked, evaluation.classes)
        if cases is not None and scores is not None and not scores.not_finite
        else None
        for cases, scores in (
            (evaluation.judged, evaluation.scores),
            (evaluation.own_judged, evaluation.internal),
        )
    )
    draw = _Pictures(evaluation, here, own)
    shifted = [one for one in evaluation.shifts if one.shifted]
    values = {
        "title": f"{evaluation.table}: external validation of {', '.join(map(without_folders, evaluation.runs))}",
        "evaluation": evaluation,
        "summary": summary(evaluation),
        "cases": _cases(evaluation),
        "metrics": _metrics(evaluation),
        "calibration": _calibration(evaluation),
        "risk": _risk(evaluation),
        "sets": _sets(evaluation),
        "subgroups": _subgroups(evaluation),
        "compared": any(one.metrics for one in evaluation.subgroups),
        "shifted": [_shift(one) for one in sorted(shifted, key=lambda one: -one.effect)],
        "others": [_shift(one) for one in evaluation.shifts if not one.shifted],
        "pairs": [(one.case, one.training, one.what) for one in evaluation.duplicates[:MOST_PAIRS]],
        "pictures": {
            "calibration": draw.reliability(),
            "discrimination": [*draw.roc(), *draw.precision_recall()],
            "decisions": [*draw.confusion(), *draw.net_benefit()],
            "risk": draw.risk_coverage(),
            "subgroups": draw.subgroups(),
        },
        "least": LEAST,
        "least_of_class": LEAST_OF_CLASS,
        "most_pairs": MOST_PAIRS,
    }
    return rendered("external", "html", values)


def summary(evaluation: ExternalEvaluation) -> str:
    """The most important numbers in a sentence."""
    scores = evaluation.scores
    if scores is None or scores.not_finite:
        return f"{formatting.plural(len(evaluation.cases), 'case')} of {evaluation.table}, without metrics."
    size = formatting.plural(scores.n_cases, "labelled case")
    auc = scores.metrics["auc"]
    if not np.isfinite(auc.value):
        return f"On {size} of {evaluation.table} there is no AUC, since they are of one class."
    text = f"On {size} of {evaluation.table} the AUC is {formatting.interval(*auc[:3])}"
    if "auc" in evaluation.changes and evaluation.internal is not None:
        own = evaluation.internal.metrics["auc"]
        change = formatting.interval(*evaluation.changes["auc"], sign=True)
        text += f", on {_OWN_NAME} {formatting.interval(*own[:3])}: a difference of {change}"
    return f"{text}."


def _cases(evaluation: ExternalEvaluation) -> list[tuple[str, ...]]:
    """Cases of each class, here and in the run's test set."""
    here = {} if evaluation.labels is None else evaluation.labels.of_class
    sides = [here] if evaluation.internal is None else [here, evaluation.internal.of_class]
    rows = [(name, *(_counted(side, name) for side in sides)) for name in evaluation.classes]
    if evaluation.labels is not None:
        rest = {f"{name} (no class of the run)": n for name, n in evaluation.labels.unknown.items()}
        rest |= {"no label": evaluation.labels.unlabelled}
        rows += [(name, f"{n:,}", *[""] * (len(sides) - 1)) for name, n in rest.items() if n]
    return rows


def _counted(of_class: Any, name: str) -> str:
    total = sum(of_class.values())
    return f"{of_class.get(name, 0):,} ({of_class.get(name, 0) / total:.0%})" if total else formatting.NONE


def _metrics(evaluation: ExternalEvaluation) -> list[tuple[str, ...]]:
    if evaluation.scores is None:
        return []
    rows = []
    for name, value in evaluation.scores.metrics.items():
        row = [formatting.metric(name), formatting.interval(*value[:3])]
        if evaluation.internal is not None:
            own = evaluation.internal.metrics.get(name, _UNKNOWN)
            change = evaluation.changes.get(name, (np.nan, np.nan, np.nan))
            row += [formatting.interval(*own[:3]), formatting.interval(*change, sign=True)]
        rows.append(tuple(row))
    return rows


def _calibration(evaluation: ExternalEvaluation) -> list[tuple[str, ...]]:
    """Measures of calibration by row, here and on the run's test set."""
    sides = [one for one in (evaluation.scores, evaluation.internal) if one is not None]
    if not sides or evaluation.scores is None or evaluation.scores.not_finite:
        return []
    rows: list[tuple[str, ...]] = []
    for name in ("brier", "ece", "log_loss"):
        for words, of in (("as it is", "metrics"), ("at the locked temperature", "calibrated")):
            values = [getattr(side, of).get(name) for side in sides]
            if any(value is not None for value in values):
                cells = (formatting.interval(*(value or _UNKNOWN)[:3]) for value in values)
                rows.append((f"{formatting.metric(name)}, {words}", *cells))
    for name in evaluation.scores.recalibration:
        of = f" of {name}"
        both = [side.recalibration.get(name) for side in sides]
        rows.append((f"intercept{of}", *(_estimate(None if one is None else one.intercept) for one in both)))
        rows.append((f"slope{of}", *(_estimate(None if one is None else one.slope) for one in both)))
        shares = [side.frequency.get(name) for side in sides]
        text = (formatting.NONE if one is None else f"{one.observed:.1%} / {one.expected:.1%}" for one in shares)
        rows.append((f"observed / expected{of}", *text))
    rows.append(
        ("temperature that these cases would choose", *(formatting.number(side.best_temperature, 2) for side in sides))
    )
    return rows


def _estimate(value: Estimate | None) -> str:
    return formatting.NONE if value is None else formatting.interval(*value[:3])


def _risk(evaluation: ExternalEvaluation) -> list[tuple[str, ...]]:
    sides = [one for one in (evaluation.scores, evaluation.internal) if one is not None]
    if evaluation.scores is None or evaluation.scores.not_finite:
        return []
    return [
        (f"{coverage:.0%}", *(formatting.number(side.risk.get(coverage, np.nan)) for side in sides))
        for coverage in COVERAGES
    ]


def _sets(evaluation: ExternalEvaluation) -> list[tuple[str, ...]]:
    """How the conformal sets do; empty without them."""
    sides = [one.sets for one in (evaluation.scores, evaluation.internal) if one is not None]
    if not sides or any(one is None for one in sides):
        return []
    known = [one for one in sides if one is not None]
    rows = [("cases covered", *(formatting.interval(*one.coverage) for one in known))]
    for name in evaluation.classes:
        cells = (formatting.interval(*one.of_class[name]) if name in one.of_class else formatting.NONE for one in known)
        rows.append((f"of class {name}", *cells))
    rows.append(("sets of one class", *(f"{one.single:.0%}" for one in known)))
    rows.append(("of these, right", *(formatting.number(one.right) for one in known)))
    rows.append(("empty sets", *(f"{one.empty:.0%}" for one in known)))
    return rows


def _subgroups(evaluation: ExternalEvaluation) -> list[tuple[str, ...]]:
    if not any(one.metrics for one in evaluation.subgroups):
        return [(f"{one.by}: {one.value}", f"{one.n_cases:,}") for one in evaluation.subgroups]
    shown = ("auc", "sensitivity", "specificity", "balanced_accuracy", "brier")
    return [
        (
            f"{one.by}: {one.value}",
            f"{one.n_cases:,}",
            *(formatting.interval(*one.metrics.get(name, _UNKNOWN)[:3]) for name in shown),
        )
        for one in evaluation.subgroups
    ]


def _shift(one: Any) -> tuple[str, ...]:
    test = [formatting.number(one.effect, 2), formatting.p_value(one.corrected)]
    return (one.title, one.reference, one.other, *test)


class _Pictures:
    """Pictures of the table next to the run's own test set, as far as either has labels."""

    def __init__(self, evaluation: ExternalEvaluation, here: ExternalCurves | None, own: ExternalCurves | None) -> None:
        self._evaluation, self._here, self._own = evaluation, here, own
        self._several = len(evaluation.classes) > 2
        self._of = "the likeliest class" if self._several else evaluation.classes[-1]

    def _sides(self, curve: Callable[[ExternalCurves], Curve | None]) -> list[tuple[str, Style, Curve, int]]:
        named = ((self._evaluation.table, _HERE, self._here), (_OWN_NAME, _OWN, self._own))
        found = [(name, style, curve(side), side.n_cases) for name, style, side in named if side is not None]
        return [(name, style, one, n) for name, style, one, n in found if one is not None and np.isfinite(one.y).any()]

    def reliability(self) -> list[Picture]:
        """At the locked temperature, or raw without one."""
        sides = self._sides(lambda side: overall(side.curves.reliability_scaled or side.curves.reliability))
        if self._here is None or not sides:
            return []
        lines, counts = [], None
        for number, (name, style, curve, n) in enumerate(sides):
            cases = np.ones(0) if curve.share is None else curve.share * n
            few = np.resize(cases < LEAST, curve.y.shape)
            low, high = np.where(few, np.nan, curve.low), np.where(few, np.nan, curve.high)
            if number == 0:
                lines.append(Line(name, curve.x, curve.y, style, low, high, every=True))
            else:
                lines.append(Line(name, curve.x, curve.y, style))
            counts = ("cases", cases) if number == 0 and curve.share is not None else counts
        text = f"Reliability for {self._of}, above the number of cases of the table in each bin."
        return [
            square(
                "reliability",
                f"Probability of {self._of}",
                text,
                lines,
                x="probability",
                y="share of cases",
                diagonal=True,
                counts=counts,
            )
        ]

    def roc(self) -> list[Picture]:
        """ROC curves; of more than two classes their mean."""
        sides = self._sides(lambda side: overall(side.curves.roc))
        return self._curves("roc", "ROC curve", sides, f"1 {formatting.MINUS} specificity", "sensitivity", "AUC", True)

    def precision_recall(self) -> list[Picture]:
        """Precision against recall."""
        sides = self._sides(lambda side: overall(side.curves.precision_recall))
        return self._curves("precision", "Precision and recall", sides, "recall", "precision", "AP", False)

    def _curves(
        self, key: str, title: str, sides: Sequence[Any], x: str, y: str, area: str, diagonal: bool
    ) -> list[Picture]:
        if not sides:
            return []
        lines = []
        for number, (name, style, curve, _) in enumerate(sides):
            xs, ys, low, high = thin(curve)
            label = f"{name}: {area} {formatting.number(curve.area)}"
            lines.append(Line(label, xs, ys, style, low if number == 0 else None, high if number == 0 else None))
        text = f"{title}: {'; '.join(line.label for line in lines)}."
        return [square(key, title, text, lines, x=x, y=y, diagonal=diagonal)]

    def risk_coverage(self) -> list[Picture]:
        """Wrong labels by the share of the cases that is decided."""
        sides = self._sides(lambda side: side.risk_coverage)
        if not sides:
            return []
        lines = [
            Line(
                f"{name}: mean {formatting.number(curve.area)}",
                *thin(curve)[:2],
                style,
                *(thin(curve)[2:] if number == 0 else (None, None)),
            )
            for number, (name, style, curve, _) in enumerate(sides)
        ]
        text = f"Share of wrong labels by coverage: {'; '.join(line.label for line in lines)}."
        return [square("risk-coverage", "Risk and coverage", text, lines, x="coverage", y="share of wrong labels")]

    def confusion(self) -> list[Picture]:
        """Truth and label."""
        named = ((self._evaluation.table, self._here), (_OWN_NAME, self._own))
        return [
            matrix(
                f"confusion-{number}",
                f"Confusion matrix, {name}",
                f"Confusion matrix of {name}, percent of each true class.",
                side.confusion.shares,
                self._evaluation.classes,
            )
            for number, (name, side) in enumerate(named, start=1)
            if side is not None
        ]

    def net_benefit(self) -> list[Picture]:
        """Decision curves on the table, one per class."""
        if self._here is None or self._evaluation.scores is None:
            return []
        pictures = []
        total = self._here.n_cases
        for number, curve in enumerate(self._here.curves.net_benefit, start=1):
            share = self._evaluation.scores.of_class[curve.of] / total
            if not 0 < share < 1 or not np.isfinite(curve.y).any():
                continue
            dotted, plain = Style(MUTED, (0, (2, 3)), "", 1.5, True), Style(MUTED, "solid", "", 1.5, True)
            lines = [
                Trend(self._evaluation.table, curve.x, curve.y, _HERE, curve.low, curve.high),
                Trend("treating all", THRESHOLDS, treat_all(share), dotted),
                Trend("treating none", THRESHOLDS, np.zeros(len(THRESHOLDS)), plain),
            ]
            top = max(float(np.nanmax(line.y)) for line in lines)
            pictures.append(
                trends(
                    f"decision-{number}",
                    f"Net benefit, {curve.of} ({share:.1%} of the cases)",
                    f"Net benefit of decisions on {curve.of} by the threshold, next to treating all and none.",
                    lines,
                    x="threshold",
                    y="net benefit",
                    span=(-0.2 * top, np.inf),
                    panel=self._several,
                )
            )
        return pictures

    def subgroups(self) -> list[Picture]:
        """The AUC of each compared subgroup."""
        compared = [one for one in self._evaluation.subgroups if one.metrics]
        pictures = []
        for number, by in enumerate(dict.fromkeys(one.by for one in compared), start=1):
            rows = []
            for one in compared:
                if one.by == by:
                    auc = one.metrics["auc"]
                    text = f"{formatting.interval(*auc[:3])}, {formatting.plural(one.n_cases, 'case')}"
                    rows.append(Row(one.value, text, (Mark(auc.value, auc.low, auc.high, (), _HERE),)))
            description = f"AUC by {by}; the numbers are in the table below."
            pictures.append(forest(f"subgroups-{number}", f"AUC by {by}", description, rows, axis="AUC"))
        return pictures
