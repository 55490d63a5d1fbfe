"""Chapter part: the verdict, values and differences of the primary metric, one row per method."""

import numpy as np

from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.chapters.chapter import Chapter, Part, cell, score
from mmfusion.comparison.report.chapters.compared import compared, differences
from mmfusion.comparison.report.forest_plot import Mark, Row, forest


def part(chapter: Chapter) -> Part:
    """Forest plots of the differences and of the values, and one table."""
    comparison, methods = chapter.comparison, chapter.ranked
    tests = [test for test in comparison.tests if test.metric == chapter.metric]
    of_tests = differences(chapter, "differences", str(comparison.reference), tests)
    return Part(
        chapter.key("verdict"),
        "Verdict: which method is better?",
        "verdict",
        methods,
        [picture for picture in (of_tests, _values(chapter)) if picture is not None],
        values={
            "several": any(len(method.runs) > 1 for method in methods),
            "table": compared(chapter, methods, tests, comparison.reference, "reference"),
            "fitted": [method.label for method in methods if method.is_row],
        },
    )


def _values(chapter: Chapter) -> Picture:
    rows = []
    for number, method in enumerate(chapter.ranked, start=1):
        value = score(method, chapter.metric)
        text = formatting.number(value.mean)
        if np.isfinite(value.low) and np.isfinite(value.high):
            text += f" ({formatting.number(value.low)}{formatting.NONE}{formatting.number(value.high)})"
        mark = Mark(value.mean, value.low, value.high, value.points, chapter.style(method))
        rows.append(Row(f"{number} {method.label}", text, (mark,), bold=method.is_reference, note=method.family))
    best, reference = chapter.ranked[0], chapter.reference
    line = score(best if reference is None else reference, chapter.metric).mean
    return forest(
        chapter.key("forest"),
        f"{chapter.metric_words} with {chapter.percent} intervals",
        f"Forest plot of {formatting.plural(len(rows), 'method')}. First in the ranking: {best.label}, "
        f"{cell(score(best, chapter.metric))}. All numbers are in the table below.",
        rows,
        axis=chapter.metric_words,
        line=None if reference is None else line,
        about=line,
    )
