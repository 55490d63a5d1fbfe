"""Chapter part: contribution of each modality."""

import numpy as np

from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.chapters.chapter import Chapter, Part, cell
from mmfusion.comparison.report.forest_plot import Mark, Row, forest

KINDS = {"without": "removed", "permuted": "permuted between cases"}


def part(chapter: Chapter) -> Part:
    """One forest plot per modality, and tables with one row per method and one column per modality and kind."""
    methods = [method for method in chapter.comparison.methods if method.contributions]
    by_method = {method.label: {(c.modality, c.kind): c for c in method.contributions} for method in methods}
    columns = list(dict.fromkeys(key for of_method in by_method.values() for key in of_method))
    falls, left = [], []
    for label, of_method in by_method.items():
        known = [of_method.get(column) for column in columns]
        falls.append((label, *(formatting.NONE if c is None else cell(c.drop, sign=True) for c in known)))
        left.append((label, *(formatting.NONE if c is None else cell(c.left) for c in known)))
    rows_of = {name: _rows(chapter, name) for name in dict.fromkeys(modality for modality, _ in columns)}
    every_row = [row for rows in rows_of.values() for row in rows]
    pictures = [
        forest(
            chapter.key("contribution", number),
            f"Modality: {name}",
            f"Fall of the AUC of {formatting.plural(len(rows), 'method')} without {name}, and with it permuted between "
            "cases; the numbers are in the table below.",
            rows,
            axis="fall of the AUC",
            line=0.0,
            beside=every_row,
        )
        for number, (name, rows) in enumerate(rows_of.items(), start=1)
    ]
    names = [f"{modality}, {KINDS[kind]}" for modality, kind in columns]
    return Part(
        chapter.key("contribution"),
        "Missing modalities: what each brings",
        "contribution",
        methods,
        pictures,
        values={"columns": names, "falls": falls, "left": left},
        lacking=chapter.lacking("This", lambda method: method.contributions),
    )


def _rows(chapter: Chapter, modality: str) -> list[Row]:
    rows = []
    for method in chapter.comparison.methods:
        drops = {c.kind: c.drop for c in method.contributions if c.modality == modality}
        marks = tuple(
            Mark(drop.mean, drop.low, drop.high, (), chapter.style(method), hollow=kind != "without")
            for kind in KINDS
            if (drop := drops.get(kind)) is not None
        )
        if marks:
            shown = drops["without"].mean if "without" in drops else np.nan
            rows.append(Row(method.label, formatting.signed(shown), marks, bold=method.is_reference))
    return rows
