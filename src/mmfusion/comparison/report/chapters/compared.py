"""Table of methods beside the one that they are tested against: value, difference, verdict in one row per method."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmfusion.comparison.analysis.results import Method, PairedTest
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.chapters.chapter import Chapter, cell, score
from mmfusion.comparison.report.forest_plot import Mark, Row, forest
from mmfusion.metrics.ranks import rank_text


class Compared(NamedTuple):
    """Methods beside the one that they are tested against.

    Attributes:
        columns: Of the table; a column that says nothing is left out.
        rows: One per method.
        n_numeric: Number of columns with numbers, the last ones.
        details: Rows of all p values and of the pairs of runs; empty without verdicts.
        kinds: Names of the tests.
        without: By reason, the methods whose difference has no interval.
        no_verdict: By reason, the methods without a verdict; no methods where it holds for all.
        runs: Number of runs of every method, in words; empty if they differ.
        strong: First cell of the other method's row.
    """

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    n_numeric: int
    details: list[tuple[str, ...]]
    kinds: list[str]
    without: dict[str, list[str]]
    no_verdict: dict[str, list[str]]
    runs: str
    strong: str

    @property
    def detail_columns(self) -> tuple[str, ...]:
        """Headings of the details."""
        return "method", "p", "p, Holm", "p no worse, Holm", "p equal, Holm", "pairs of runs"


def compared(
    chapter: Chapter, methods: Sequence[Method], tests: Sequence[PairedTest], to: str | None, what: str
) -> Compared:
    """The table of some methods.

    Args:
        chapter: The comparison.
        methods: Rows, in their order.
        tests: Of the metric that ranks, against one method.
        to: Label of that method; None without tests.
        what: What that method is, ``reference`` or ``whole``.
    """
    by_method = {test.method: test for test in tests}
    judged = any(test.verdict != "none" for test in tests)
    counts = {len(method.runs) for method in methods}
    columns: dict[str, list[str]] = {"method": [m.label + (f" ({what})" if m.label == to else "") for m in methods]}
    if any(method.family for method in methods):
        columns["fuses"] = [method.family or formatting.NONE for method in methods]
    found = [by_method.get(method.label) for method in methods]
    if judged:
        columns["verdict"] = ["" if test is None else formatting.VERDICTS[test.verdict] for test in found]
    n_text = len(columns)
    if what == "reference":
        ranks = enumerate((method.ranks for method in methods), start=1)
        columns["rank"] = [str(n) if rank is None else f"{n} ({rank_text(rank)})" for n, rank in ranks]
    columns[chapter.metric_words] = [cell(score(method, chapter.metric)) for method in methods]
    if max(counts, default=1) > 1:
        columns["SD"] = [formatting.number(score(method, chapter.metric).sd) for method in methods]
    if len(counts) > 1:
        columns["runs"] = [str(len(method.runs)) for method in methods]
    if tests:
        columns[f"difference to {to}"] = [
            "" if test is None else formatting.interval(test.difference, test.low, test.high, sign=True)
            for test in found
        ]
    if judged:
        columns["p, Holm"] = ["" if test is None else formatting.p_value(test.p_holm) for test in found]
    if any(np.isfinite(test.detectable) for test in tests):
        columns["detectable"] = ["" if test is None else formatting.number(test.detectable) for test in found]
    without: dict[str, list[str]] = {}
    no_verdict: dict[str, list[str]] = {}
    for test in tests:
        for reason, into in ((test.reason, without), (test.no_verdict, no_verdict)):
            if reason:
                into.setdefault(reason, []).append(test.method)
    return Compared(
        tuple(columns),
        list(zip(*columns.values())),
        len(columns) - n_text,
        [_details(test) for test in tests] if judged else [],
        list(dict.fromkeys(formatting.KINDS[test.kind] for test in tests)),
        without,
        {reason: [] if len(labels) == len(tests) else labels for reason, labels in no_verdict.items()},
        formatting.plural(max(counts, default=0), "run") if len(counts) == 1 else "",
        f"{to} ({what})",
    )


def _details(test: PairedTest) -> tuple[str, ...]:
    p = (test.p, test.p_holm, test.p_no_worse, test.p_equal)
    return test.method, *map(formatting.p_value, p), str(test.n_runs)


def differences(chapter: Chapter, key: str, to: str, tests: Sequence[PairedTest]) -> Picture | None:
    """Forest plot of the differences; None without one."""
    rows = []
    for test in tests:
        if np.isfinite(test.difference):
            mark = Mark(test.difference, test.low, test.high, (), chapter.styles[test.method])
            p = f", {formatting.p_phrase(test.p_holm)}" if np.isfinite(test.p_holm) else ""
            rows.append(
                Row(test.method, formatting.signed(test.difference) + p, (mark,), note=chapter.family(test.method))
            )
    if not rows:
        return None
    corrected = ", Holm-corrected p" if any(np.isfinite(test.p_holm) for test in tests) else ""
    return forest(
        chapter.key(key),
        f"Difference to {to}{corrected}",
        f"Forest plot of paired differences in {chapter.metric_words} to {to}, with intervals; the dashed line is no "
        "difference. All numbers are in the table of the tests.",
        rows,
        axis=f"{chapter.metric_words}, method minus {to}",
        line=0.0,
        about=0.0,
    )
