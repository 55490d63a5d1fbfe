"""Chapter part: the ranking with intervals, and the tests against the reference."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmfusion.comparison.analysis.results import PairedTest
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.chapters.chapter import Chapter, Part, cell, score
from mmfusion.comparison.report.forest_plot import Mark, Row, forest

OVER_FOLDS = "corrected resampled t"
"""The test over several test sets; every other test is over the cases of one."""

VERDICTS = {True: "better", False: "worse", None: "no significant difference"}


def part(chapter: Chapter) -> Part:
    """Forest plots and tables."""
    comparison = chapter.comparison
    methods, tests = comparison.methods, comparison.tests
    pictures = [_values(chapter)]
    if drawn := [test for test in tests if test.metric == chapter.metric and np.isfinite(test.difference)]:
        pictures.append(_differences(chapter, drawn))
    families: dict[tuple[str, str], list[PairedTest]] = {}
    for test in tests:
        families.setdefault((test.metric, test.kind), []).append(test)
    values = {
        "several": any(len(method.runs) > 1 for method in methods),
        "rows": _rows(chapter),
        "fitted": [method.label for method in methods if method.is_row],
        "kinds": list(dict.fromkeys(formatting.KINDS[test.kind] for test in tests)),
        "over_folds": any(test.kind == OVER_FOLDS for test in tests),
        "families": [_family(chapter, family) for family in families.values()],
    }
    return Part(chapter.key("ranking"), "Ranking", "ranking", methods, pictures, values=values)


def _values(chapter: Chapter) -> Picture:
    comparison = chapter.comparison
    rows = []
    for number, method in enumerate(comparison.methods, start=1):
        value = score(method, chapter.metric)
        text = formatting.number(value.mean)
        if np.isfinite(value.low) and np.isfinite(value.high):
            text += f" ({formatting.number(value.low)}{formatting.NONE}{formatting.number(value.high)})"
        mark = Mark(value.mean, value.low, value.high, value.points, chapter.style(method))
        rows.append(Row(f"{number} {method.label}", text, (mark,), bold=method.is_reference))
    best = comparison.methods[0]
    reference = chapter.reference
    return forest(
        chapter.key("forest"),
        f"{chapter.metric_words} with {chapter.percent} intervals",
        f"Forest plot of {formatting.plural(len(rows), 'method')}. Highest in the ranking: {best.label}, "
        f"{cell(score(best, chapter.metric))}. All numbers are in the table of the ranking.",
        rows,
        axis=chapter.metric_words,
        line=None if reference is None else score(reference, chapter.metric).mean,
    )


def _differences(chapter: Chapter, tests: Sequence[PairedTest]) -> Picture:
    rows = []
    for test in tests:
        mark = Mark(test.difference, test.low, test.high, (), chapter.styles[test.method])
        p = f", {formatting.p_phrase(test.p_holm)}" if np.isfinite(test.p_holm) else ""
        rows.append(Row(test.method, f"{formatting.signed(test.difference)}{p}", (mark,)))
    return forest(
        chapter.key("differences"),
        f"Difference to {chapter.comparison.reference}, Holm-corrected p",
        f"Forest plot of paired differences in {chapter.metric_words} to the reference "
        f"{chapter.comparison.reference}, with intervals; the dashed line is no difference. All numbers are in the "
        "table of the tests.",
        rows,
        axis=f"{chapter.metric_words}, method minus reference",
        line=0.0,
    )


def _rows(chapter: Chapter) -> list[tuple[str, ...]]:
    rows = []
    for number, method in enumerate(chapter.comparison.methods, start=1):
        first = score(method, chapter.metric)
        label = method.label + (" (reference)" if method.is_reference else "")
        others = [cell(score(method, name)) for name in chapter.comparison.metrics[1:]]
        rows.append((label, str(number), cell(first), formatting.number(first.sd), str(len(method.runs)), *others))
    return rows


def _family(chapter: Chapter, tests: Sequence[PairedTest]) -> dict[str, Any]:
    """The tests of one kind on one metric."""
    without: dict[str, list[str]] = {}
    for test in tests:
        if test.reason:
            without.setdefault(test.reason, []).append(test.method)
    rows = [
        (
            test.method,
            VERDICTS[test.better] if np.isfinite(test.p_holm) else "not tested",
            formatting.interval(test.difference, test.low, test.high, sign=True),
            formatting.p_value(test.p),
            formatting.p_value(test.p_holm),
            str(test.n_runs),
        )
        for test in tests
    ]
    return {
        "primary": tests[0].metric == chapter.metric,
        "what": formatting.capitalized(formatting.metric(tests[0].metric)),
        "kind": formatting.KINDS[tests[0].kind],
        "without": without,
        "rows": rows,
    }
