"""Chapter part: contribution of each modality."""

from collections.abc import Callable, Sequence

import numpy as np

from mmfusion.comparison.analysis.results import Method
from mmfusion.comparison.analysis.scores import Contribution
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.chapters.chapter import Chapter, cell
from mmfusion.comparison.report.document import Figures, Paragraph, Section, Table
from mmfusion.comparison.report.forest_plot import Mark, Row, forest

KINDS = {"without": "removed", "permuted": "permuted between cases"}
INTERVALS = {
    "cases": "is for other test cases: a run compares both AUCs on the same resamples. Seeds share their cases, so "
    "that their intervals are averaged, which is rather too wide; folds are assumed independent.",
    "folds": "is that of Nadeau and Bengio over the folds, on one fall per fold, the mean over its seeds.",
    "seeds": "is Student's over the seeds alone: it says nothing about other test cases.",
    "too few": "is not given: fewer than three folds, or seeds of one, do not show how the fall varies.",
    "none": "is unknown: the runs have none, and it cannot be estimated from their differences.",
}
"""Sentence on each kind of interval of a fall."""


def section(chapter: Chapter) -> Section:
    """One forest plot per modality, and tables."""
    key, title = chapter.key("contribution"), "Missing modalities: what each brings"
    methods = chapter.comparison.methods
    having = [method for method in methods if method.contributions]
    if not having:
        return Section(key, title, (Paragraph("No run was evaluated without one of its modalities.", kind="missing"),))
    text = (
        "Fall of the AUC when a modality is removed from every test case (filled), or its contents are permuted "
        "between the cases (hollow). The further to the right, the more the method depends on it; at the dashed line "
        "it does not matter. The number is the fall when it is removed. A method that was never trained without a "
        "modality may fall for that reason alone."
    )
    modalities = list(
        dict.fromkeys(contribution.modality for method in having for contribution in method.contributions)
    )
    falls = _table(
        having,
        f"Fall of the AUC, with {chapter.percent} intervals. {_intervals(having)}",
        lambda contribution: cell(contribution.drop, sign=True),
    )
    left = _table(
        having,
        f"AUC without the modality or with it permuted, with {chapter.percent} intervals for other test cases if the "
        "runs have them.",
        lambda contribution: cell(contribution.left),
    )
    rows_of = {name: _rows(chapter, name) for name in modalities}
    all_rows = [row for rows in rows_of.values() for row in rows]
    pictures = tuple(
        forest(
            chapter.key("contribution", number),
            name,
            f"Fall of the AUC of {formatting.plural(len(rows), 'method')} without {name}, and with it permuted between "
            "cases; the numbers are in the table below.",
            rows,
            axis="fall of the AUC",
            line=0.0,
            beside=all_rows,
        )
        for number, (name, rows) in enumerate(rows_of.items(), start=1)
    )
    lacking = chapter.lacking("This", [method for method in methods if not method.contributions])
    return Section(key, title, (Paragraph(text), Figures(pictures), falls, left, *lacking))


def _intervals(methods: Sequence[Method]) -> str:
    """Sentences on the intervals of the falls, with the methods of each if there are several kinds."""
    by_kind: dict[str, dict[str, None]] = {}
    for kind in INTERVALS:
        for method in methods:
            if any(
                contribution.interval == kind and np.isfinite(contribution.drop.mean)
                for contribution in method.contributions
            ):
                by_kind.setdefault(kind, {})[method.label] = None
    if len(by_kind) == 1:
        return f"The interval {INTERVALS[next(iter(by_kind))]}"
    return " ".join(
        f"That of {formatting.listed(labels, most=30)} {INTERVALS[kind]}" for kind, labels in by_kind.items()
    )


def _table(methods: Sequence[Method], caption: str, text: Callable[[Contribution], str]) -> Table:
    """One row per method, one column per modality and kind."""
    columns = list(
        dict.fromkeys(
            (contribution.modality, contribution.kind) for method in methods for contribution in method.contributions
        )
    )
    rows = []
    for method in methods:
        texts = {
            (contribution.modality, contribution.kind): text(contribution) for contribution in method.contributions
        }
        rows.append((method.label, *(texts.get(column, formatting.NONE) for column in columns)))
    return Table(
        caption,
        ("method", *(f"{modality}, {KINDS.get(kind, kind)}" for modality, kind in columns)),
        tuple(rows),
        numeric=len(columns),
        strong=frozenset(number for number, method in enumerate(methods) if method.is_reference),
    )


def _rows(chapter: Chapter, modality: str) -> list[Row]:
    rows = []
    for method in chapter.comparison.methods:
        drops = {
            contribution.kind: contribution.drop
            for contribution in method.contributions
            if contribution.modality == modality
        }
        marks = tuple(
            Mark(
                drops[kind].mean,
                drops[kind].low,
                drops[kind].high,
                (),
                chapter.style(method),
                hollow=kind != "without",
            )
            for kind in KINDS
            if kind in drops
        )
        if marks:
            shown = drops["without"].mean if "without" in drops else np.nan
            rows.append(Row(method.label, formatting.signed(shown), marks, bold=method.is_reference))
    return rows
