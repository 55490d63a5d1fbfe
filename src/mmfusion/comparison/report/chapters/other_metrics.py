"""Chapter part: the exploratory metrics."""

import numpy as np

from mmfusion.comparison.analysis.results import PairedTest
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.chapters.chapter import Chapter, Part, cell, score


def part(chapter: Chapter) -> Part:
    """One table of the values, and collapsed one per metric with intervals and differences."""
    comparison = chapter.comparison
    names = comparison.metrics[1:]
    rows = [
        (method.label, *(formatting.number(score(method, name).mean) for name in names))
        for method in comparison.methods
    ]
    tests = {(test.metric, test.method): test for test in (*comparison.tests, *comparison.ablation_tests)}
    tables = []
    # Where all are compared with the same method, the heading names it.
    references = {test.reference for test in tests.values()}
    to = next(iter(references)) if len(references) == 1 else ""
    heads = ["method", "value", *([f"difference to {to}"] if to else ["difference", "to"] if references else [])]
    for name in names:
        found = [tests.get((name, method.label)) for method in comparison.methods]
        reasons = dict.fromkeys(test.reason for test in found if test is not None and test.reason)
        cells = [
            (method.label, cell(score(method, name)), *_difference(test)[: len(heads) - 2])
            for method, test in zip(comparison.methods, found)
        ]
        title = formatting.capitalized(formatting.metric(name))
        known = any(np.isfinite(score(method, name).low) for method in comparison.methods)
        tables.append((title, cells, list(reasons), known or any(test and np.isfinite(test.low) for test in found)))
    title = "Other metrics: do they agree?"
    values = {"names": names, "rows": rows, "heads": heads, "tables": tables}
    return Part(chapter.key("metrics"), title, "other_metrics", comparison.methods if names else (), values=values)


def _difference(test: PairedTest | None) -> tuple[str, str]:
    """The difference, and the method that it is to."""
    if test is None:
        return "", ""
    return formatting.interval(test.difference, test.low, test.high, sign=True), test.reference
