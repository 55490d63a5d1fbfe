"""Chapter part: subgroups of the test cases, and the gap between the best and the worst."""

from collections.abc import Sequence

import numpy as np

from mmfusion.comparison.analysis.results import Method
from mmfusion.comparison.analysis.scores import Gap, Score, Subgroup
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.chapters.chapter import UNKNOWN, Chapter, Part
from mmfusion.comparison.report.forest_plot import Mark, Row, forest
from mmfusion.metrics.shared_classes import LEAST


def part(chapter: Chapter) -> Part:
    """One forest plot and one table per property."""
    classes = chapter.comparison.classes
    methods = [method for method in chapter.comparison.methods if method.subgroups]
    # All methods have the same cases.
    groups = methods[0].subgroups if methods else ()
    counts = [
        (
            _name(group),
            *map(formatting.count, (group.n_cases, group.n_groups, *(group.of_class.get(c, 0) for c in classes))),
        )
        for group in groups
    ]
    pictures, tables = [], []
    for number, by in enumerate(dict.fromkeys(group.by for group in groups), start=1):
        of_property = [group for group in groups if group.by == by]
        kept = [group for group in of_property if np.isfinite(_value(chapter, methods[0], group).mean)]
        left_out = [group.value for group in of_property if group not in kept]
        gaps = {method.label: gap for method in methods for gap in method.gaps if gap.by == by}
        if gaps:
            pictures.append(_picture(chapter, number, by, kept, _shown(methods)))
        rows = [_row(chapter, method, gaps.get(method.label), kept) for method in methods]
        names = next((gap.classes for gap in gaps.values()), ())
        tables.append((by, names, left_out, [group.value for group in kept], rows if gaps else []))
    return Part(
        chapter.key("subgroups"),
        "Subgroups: who is served worst?",
        "subgroups",
        methods,
        pictures,
        values={"counts": counts, "tables": tables, "least": LEAST},
        lacking=chapter.lacking("This", lambda method: method.subgroups),
    )


def _row(chapter: Chapter, method: Method, gap: Gap | None, groups: Sequence[Subgroup]) -> tuple[str, ...]:
    values = [formatting.number(_value(chapter, method, group).mean) for group in groups]
    if gap is None:
        return method.label, formatting.NONE, formatting.NONE, *values
    return method.label, gap.worst, formatting.interval(gap.difference, gap.low, gap.high), *values


def _name(group: Subgroup) -> str:
    return f"{group.by}: {group.value}"


def _value(chapter: Chapter, method: Method, group: Subgroup) -> Score:
    subgroup = next((other for other in method.subgroups if (other.by, other.value) == (group.by, group.value)), None)
    return UNKNOWN if subgroup is None else subgroup.scores.get(chapter.metric, UNKNOWN)


def _shown(methods: Sequence[Method]) -> list[Method]:
    """The reference and the best other method: more would overlap."""
    reference = [method for method in methods if method.is_reference]
    return [method for method in methods if not method.is_reference][: 2 - len(reference)] + reference


def _picture(chapter: Chapter, number: int, by: str, groups: Sequence[Subgroup], shown: Sequence[Method]) -> Picture:
    rows = []
    for group in groups:
        values = [(_value(chapter, method, group), chapter.style(method)) for method in shown]
        marks = tuple(Mark(value.mean, value.low, value.high, (), style) for value, style in values)
        rows.append(Row(group.value, formatting.plural(group.n_cases, "case"), marks))
    labels = [method.label for method in shown]
    names = labels[0] if len(labels) == 1 else f"upper line {labels[0]}, lower line {labels[1]}"
    return forest(
        chapter.key("subgroups", number),
        f"By {by}: {names}",
        f"{chapter.metric_words} by {by}, {names}, for {formatting.plural(len(rows), 'subgroup')}; the numbers are in "
        "the table below.",
        rows,
        axis=chapter.metric_words,
    )
