"""What each modality brings."""

from collections.abc import Callable, Sequence

import numpy as np

from mmfusion.comparison.analysis.results import Method
from mmfusion.comparison.analysis.scores import Contribution
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.chapters.chapter import Chapter, cell
from mmfusion.comparison.report.document import Figures, Paragraph, Section, Table
from mmfusion.comparison.report.forest_plot import Mark, Row, forest

KINDS = {"without": "taken away", "permuted": "exchanged between cases"}
INTERVALS = {
    "cases": "is of the test cases: a run compares both AUCs on the same resamples. Seeds share their cases, so that "
    "their intervals are averaged, rather too wide than too narrow; folds are taken as independent.",
    "folds": "is Nadeau and Bengio's over the folds, on one fall a fold, the mean over its seeds.",
    "seeds": "is the spread over the seeds alone, Student's: it says nothing of other test cases.",
    "too few": "is not given: fewer than three folds, or seeds of one, say next to nothing of how the fall varies.",
    "none": "is not known: the runs tell none, and from how they differ none can be estimated.",
}
"""What is true of each kind of interval of a fall."""


def section(chapter: Chapter) -> Section:
    """A forest plot a modality, and a table."""
    key, title = chapter.key("contribution"), "Missing modalities: what each brings"
    methods = chapter.comparison.methods
    having = [method for method in methods if method.contributions]
    if not having:
        return Section(key, title, (Paragraph("No run was evaluated without one of its modalities.", kind="missing"),))
    text = (
        "By how much the AUC falls when a modality is taken away from every test case (filled), or its contents are "
        "exchanged between the cases (hollow). The further to the right, the more the method leans on it; at the "
        "dashed line it does not matter. The number is the fall when it is taken away. A method that was never "
        "trained without a modality may fall for that reason alone."
    )
    modalities = list(dict.fromkeys(given.modality for method in having for given in method.contributions))
    falls = _table(
        having,
        f"By how much the AUC fell, with {chapter.percent} intervals. {_intervals(having)}",
        lambda given: cell(given.drop, sign=True),
    )
    left = _table(
        having,
        f"The AUC that is left, with {chapter.percent} intervals of the test cases where the runs tell them.",
        lambda given: cell(given.left),
    )
    rows_of = {name: _rows(chapter, name) for name in modalities}
    every = [row for own in rows_of.values() for row in own]
    pictures = tuple(
        forest(
            chapter.key("contribution", number),
            name,
            f"Fall of the AUC of {formatting.plural(len(own), 'method')} without {name}, and with it exchanged between "
            "cases; the numbers are in the table below.",
            own,
            axis="fall of the AUC",
            line=0.0,
            beside=every,
        )
        for number, (name, own) in enumerate(rows_of.items(), start=1)
    )
    lacking = chapter.lacking("This", [method for method in methods if not method.contributions])
    return Section(key, title, (Paragraph(text), Figures(pictures), falls, left, *lacking))


def _intervals(methods: Sequence[Method]) -> str:
    """What the intervals of the falls are; of whom, where they are of several kinds."""
    found: dict[str, dict[str, None]] = {}
    for kind in INTERVALS:
        for method in methods:
            if any(given.interval == kind and np.isfinite(given.drop.mean) for given in method.contributions):
                found.setdefault(kind, {})[method.label] = None
    if len(found) == 1:
        return f"The interval {INTERVALS[next(iter(found))]}"
    return " ".join(f"That of {formatting.listed(labels, most=30)} {INTERVALS[kind]}" for kind, labels in found.items())


def _table(methods: Sequence[Method], caption: str, text: Callable[[Contribution], str]) -> Table:
    """A row a method, a column a modality and what was done to it."""
    columns = list(dict.fromkeys((given.modality, given.kind) for method in methods for given in method.contributions))
    rows = []
    for method in methods:
        found = {(given.modality, given.kind): text(given) for given in method.contributions}
        rows.append((method.label, *(found.get(column, formatting.NONE) for column in columns)))
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
        found = {given.kind: given.drop for given in method.contributions if given.modality == modality}
        marks = tuple(
            Mark(
                found[kind].mean,
                found[kind].low,
                found[kind].high,
                (),
                chapter.style(method),
                hollow=kind != "without",
            )
            for kind in KINDS
            if kind in found
        )
        if marks:
            shown = found["without"].mean if "without" in found else np.nan
            rows.append(Row(method.label, formatting.signed(shown), marks, bold=method.is_reference))
    return rows
