"""Chapter part: ranking with intervals, tests against the reference, and ablations against their wholes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmfusion.comparison.analysis.results import Method, PairedTest
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.chapters.chapter import Chapter, Part, cell, score
from mmfusion.comparison.report.forest_plot import Mark, Row, forest
from mmfusion.metrics.ranks import rank_text


def part(chapter: Chapter) -> Part:
    """Forest plots and tables."""
    comparison = chapter.comparison
    methods = chapter.ranked
    pictures = [_values(chapter)]
    primary = _drawn(chapter, comparison.tests)
    if primary:
        pictures.append(_differences(chapter, "differences", str(comparison.reference), primary))
    wholes = list(dict.fromkeys(test.reference for test in comparison.ablation_tests))
    for number, whole in enumerate(wholes, start=1):
        drawn = [test for test in _drawn(chapter, comparison.ablation_tests) if test.reference == whole]
        if drawn:
            pictures.append(_differences(chapter, f"ablations-{number}", whole, drawn))
    values = {
        "several": any(len(method.runs) > 1 for method in methods),
        "rows": _rows(chapter),
        "fitted": [method.label for method in methods if method.is_row],
        "families": _families(chapter, comparison.tests),
        "ablations": {
            whole: {
                "rows": _ablation_rows(chapter, whole),
                "families": _families(chapter, [test for test in comparison.ablation_tests if test.reference == whole]),
            }
            for whole in wholes
        },
    }
    return Part(chapter.key("ranking"), "Ranking", "ranking", methods, pictures, values=values)


def _values(chapter: Chapter) -> Picture:
    rows = []
    for number, method in enumerate(chapter.ranked, start=1):
        value = score(method, chapter.metric)
        text = formatting.number(value.mean)
        if np.isfinite(value.low) and np.isfinite(value.high):
            text += f" ({formatting.number(value.low)}{formatting.NONE}{formatting.number(value.high)})"
        mark = Mark(value.mean, value.low, value.high, value.points, chapter.style(method))
        rows.append(Row(f"{number} {method.label}", text, (mark,), bold=method.is_reference))
    best = chapter.ranked[0]
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


def _drawn(chapter: Chapter, tests: Sequence[PairedTest]) -> list[PairedTest]:
    return [test for test in tests if test.metric == chapter.metric and np.isfinite(test.difference)]


def _differences(chapter: Chapter, key: str, reference: str, tests: Sequence[PairedTest]) -> Picture:
    rows = []
    for test in tests:
        mark = Mark(test.difference, test.low, test.high, (), chapter.styles[test.method])
        p = f", {formatting.p_phrase(test.p_holm)}" if np.isfinite(test.p_holm) else ""
        rows.append(Row(test.method, f"{formatting.signed(test.difference)}{p}", (mark,)))
    corrected = ", Holm-corrected p" if any(np.isfinite(test.p_holm) for test in tests) else ""
    return forest(
        chapter.key(key),
        f"Difference to {reference}{corrected}",
        f"Forest plot of paired differences in {chapter.metric_words} to {reference}, with intervals; the dashed line "
        "is no difference. All numbers are in the table of the tests.",
        rows,
        axis=f"{chapter.metric_words}, method minus {reference}",
        line=0.0,
    )


def _rows(chapter: Chapter) -> list[tuple[str, ...]]:
    rows = []
    for number, method in enumerate(chapter.ranked, start=1):
        label = method.label + (" (reference)" if method.is_reference else "")
        rank = str(number) if method.ranks is None else f"{number} ({rank_text(method.ranks)})"
        rows.append((label, rank, *_numbers(chapter, method)))
    return rows


def _numbers(chapter: Chapter, method: Method) -> tuple[str, ...]:
    first = score(method, chapter.metric)
    others = [cell(score(method, name)) for name in chapter.comparison.metrics[1:]]
    return cell(first), formatting.number(first.sd), str(len(method.runs)), *others


def _ablation_rows(chapter: Chapter, whole: str) -> list[tuple[str, ...]]:
    """The whole, then its ablations."""
    methods = [method for method in chapter.comparison.methods if whole in (method.label, method.whole)]
    return [
        (method.label + (" (whole)" if method.label == whole else ""), *_numbers(chapter, method)) for method in methods
    ]


def _families(chapter: Chapter, tests: Sequence[PairedTest]) -> list[dict[str, Any]]:
    """The tests by metric and kind."""
    families: dict[tuple[str, str], list[PairedTest]] = {}
    for test in tests:
        families.setdefault((test.metric, test.kind), []).append(test)
    return [_family(chapter, family) for family in families.values()]


def _family(chapter: Chapter, tests: Sequence[PairedTest]) -> dict[str, Any]:
    """The tests of one kind on one metric."""
    without: dict[str, list[str]] = {}
    open_: dict[str, list[str]] = {}
    for test in tests:
        if test.reason:
            without.setdefault(test.reason, []).append(test.method)
        if test.no_verdict:
            open_.setdefault(test.no_verdict, []).append(test.method)
    primary = tests[0].metric == chapter.metric
    rows = []
    for test in tests:
        row = [test.method]
        if primary:
            row.append(formatting.VERDICTS[test.verdict])
        row.append(formatting.interval(test.difference, test.low, test.high, sign=True))
        if primary:
            p = (test.p, test.p_holm, test.p_no_worse, test.p_equal)
            row += [*map(formatting.p_value, p), formatting.number(test.detectable)]
        rows.append((*row, str(test.n_runs)))
    return {
        "primary": primary,
        "what": formatting.capitalized(formatting.metric(tests[0].metric)),
        "reference": tests[0].reference,
        "kind": formatting.KINDS[tests[0].kind],
        "without": without,
        "open": open_,
        "rows": rows,
    }
