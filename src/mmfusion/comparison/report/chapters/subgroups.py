"""Chapter part: subgroups of the test cases."""

from collections.abc import Sequence

from mmfusion.comparison.analysis.results import Method
from mmfusion.comparison.analysis.scores import Score, Subgroup
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.chapters.chapter import UNKNOWN, Chapter, cell
from mmfusion.comparison.report.document import Figures, Paragraph, Section, Table
from mmfusion.comparison.report.forest_plot import Mark, Row, forest


def section(chapter: Chapter) -> Section:
    """One forest plot per property, and tables."""
    key, title = chapter.key("subgroups"), "Subgroups"
    methods = [method for method in chapter.comparison.methods if method.subgroups]
    if not methods:
        text = "There are no subgroups: the data have no sex, age or skin type, or the runs did not store them."
        return Section(key, title, (Paragraph(text, kind="missing"),))
    # All methods have the same cases.
    groups = methods[0].subgroups
    shown = _shown(chapter, methods)
    text = (
        f"{chapter.metric_words} in subgroups of the test cases, with {chapter.percent} intervals. Small subgroups "
        "have wide intervals, and among many some differ by chance: these are descriptions, not tests. A subgroup "
        "whose cases are of one class has no value."
    )
    if partial := _lacking(groups, chapter.comparison.classes):
        text += f" Means over classes are over the classes that a subgroup has: {partial}."
    pictures = tuple(
        _picture(chapter, number, by, [group for group in groups if group.by == by], shown)
        for number, by in enumerate(dict.fromkeys(group.by for group in groups), start=1)
    )
    classes = chapter.comparison.classes
    counts = Table(
        "Test cases in each subgroup.",
        ("subgroup", "cases", "patients or lesions", *classes),
        tuple(
            (
                _name(group),
                formatting.count(group.n_cases),
                formatting.count(group.n_groups),
                *(formatting.count(group.of_class.get(c, 0)) for c in classes),
            )
            for group in groups
        ),
        numeric=2 + len(classes),
    )
    values = Table(
        f"{chapter.metric_words} by subgroup.",
        ("subgroup", "cases", *(method.label for method in methods)),
        tuple(
            (_name(group), formatting.count(group.n_cases), *(cell(_value(chapter, m, group)) for m in methods))
            for group in groups
        ),
        numeric=1 + len(methods),
    )
    lacking = chapter.lacking("This", [method for method in chapter.comparison.methods if not method.subgroups])
    return Section(key, title, (Paragraph(text), Figures(pictures), counts, values, *lacking))


def _lacking(groups: Sequence[Subgroup], classes: Sequence[str]) -> str:
    """Subgroups with several classes, but not all."""
    texts = []
    for group in groups:
        absent = [name for name in classes if not group.of_class.get(name, 0)]
        if absent and len(classes) - len(absent) > 1:
            texts.append(f"{_name(group)} has no {formatting.listed(absent)}")
    return formatting.listed(texts, most=30)


def _name(group: Subgroup) -> str:
    return f"{group.by}: {group.value}"


def _value(chapter: Chapter, method: Method, group: Subgroup) -> Score:
    subgroup = next((other for other in method.subgroups if (other.by, other.value) == (group.by, group.value)), None)
    return UNKNOWN if subgroup is None else subgroup.scores.get(chapter.metric, UNKNOWN)


def _shown(chapter: Chapter, methods: list[Method]) -> list[Method]:
    """The reference and the best other method: more would overlap."""
    reference = [method for method in methods if method.is_reference]
    return [method for method in methods if not method.is_reference][: 2 - len(reference)] + reference


def _picture(chapter: Chapter, number: int, by: str, groups: list[Subgroup], shown: list[Method]) -> Picture:
    rows = [
        Row(
            group.value,
            formatting.plural(group.n_cases, "case"),
            tuple(
                Mark(value.mean, value.low, value.high, (), chapter.style(method))
                for method in shown
                for value in (_value(chapter, method, group),)
            ),
        )
        for group in groups
    ]
    names = " above ".join(method.label for method in shown)
    return forest(
        chapter.key("subgroups", number),
        f"By {by}: {names}",
        f"{chapter.metric_words} by {by}, {names}, for {formatting.plural(len(rows), 'subgroup')}; the numbers are in "
        "the table below.",
        rows,
        axis=chapter.metric_words,
    )
