"""Chapter part: subgroups of the test cases."""

from collections.abc import Sequence

from mmfusion.comparison.analysis.results import Method
from mmfusion.comparison.analysis.scores import Score, Subgroup
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.chapters.chapter import UNKNOWN, Chapter, Part, cell
from mmfusion.comparison.report.forest_plot import Mark, Row, forest


def part(chapter: Chapter) -> Part:
    """One forest plot per property, and tables."""
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
    rows = [
        (_name(group), formatting.count(group.n_cases), *(cell(_value(chapter, method, group)) for method in methods))
        for group in groups
    ]
    return Part(
        chapter.key("subgroups"),
        "Subgroups",
        "subgroups",
        methods,
        [
            _picture(chapter, number, by, [group for group in groups if group.by == by], _shown(methods))
            for number, by in enumerate(dict.fromkeys(group.by for group in groups), start=1)
        ],
        values={"partial": _partial(groups, classes), "counts": counts, "rows": rows},
        lacking=chapter.lacking("This", lambda method: method.subgroups),
    )


def _partial(groups: Sequence[Subgroup], classes: Sequence[str]) -> list[str]:
    """Subgroups with several classes, but not all."""
    texts = []
    for group in groups:
        absent = [name for name in classes if not group.of_class.get(name, 0)]
        if absent and len(classes) - len(absent) > 1:
            texts.append(f"{_name(group)} has no {formatting.listed(absent)}")
    return texts


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
    names = " above ".join(method.label for method in shown)
    return forest(
        chapter.key("subgroups", number),
        f"By {by}: {names}",
        f"{chapter.metric_words} by {by}, {names}, for {formatting.plural(len(rows), 'subgroup')}; the numbers are in "
        "the table below.",
        rows,
        axis=chapter.metric_words,
    )
