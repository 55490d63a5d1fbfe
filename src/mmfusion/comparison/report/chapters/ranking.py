"""Chapter part: the ranking with intervals, and the tests against the reference."""

import numpy as np

from mmfusion.comparison.analysis.results import Method, PairedTest
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.chapters.chapter import Chapter, cell, score
from mmfusion.comparison.report.document import Block, Figures, Lid, Paragraph, Section, Table
from mmfusion.comparison.report.forest_plot import Mark, Row, forest
from mmfusion.metrics.classification import LOWER_IS_BETTER

OVER_FOLDS = "corrected resampled t"
"""The test over several test sets; every other test is over the cases of one."""

VERDICTS = {True: "better", False: "worse", None: "no significant difference"}


def section(chapter: Chapter) -> Section:
    """Forest plots and tables."""
    comparison = chapter.comparison
    order = "lowest" if chapter.metric in LOWER_IS_BETTER else "highest"
    several = any(len(method.runs) > 1 for method in comparison.methods)
    text = (
        f"Methods by mean {chapter.metric_words} on the test set, the {order} first. The line is the "
        f"{chapter.percent} interval of the mean; "
        + ("the small circles are single runs, a seed and fold each." if several else "there is one run per method.")
    )
    if comparison.reference is not None:
        text += f" The diamond and the dashed line are {chapter.reference_words}."
    if comparison.resolution == comparison.resolution:
        text += (
            f" The test cases alone give the {chapter.metric_words} of a single run a standard error near "
            f"{formatting.number(comparison.resolution / 2)}."
        )
    pictures = [_values(chapter)]
    tests = [test for test in comparison.tests if test.metric == chapter.metric]
    blocks: list[Block] = [Paragraph(text)]
    drawn = [test for test in tests if np.isfinite(test.difference)]
    if drawn:
        pictures.append(_differences(chapter, drawn))
    blocks += [Figures(tuple(pictures)), _table(chapter)]
    blocks += _rows(comparison.methods)
    blocks += _tests(chapter)
    return Section(chapter.key("ranking"), "Ranking", tuple(blocks))


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


def _differences(chapter: Chapter, tests: list[PairedTest]) -> Picture:
    rows = []
    for test in tests:
        mark = Mark(test.difference, test.low, test.high, (), chapter.styles[test.method])
        rows.append(
            Row(
                test.method,
                f"{formatting.signed(test.difference)}, {formatting.p_phrase(test.p_holm)}"
                if np.isfinite(test.p_holm)
                else formatting.signed(test.difference),
                (mark,),
            )
        )
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


def _table(chapter: Chapter) -> Table:
    comparison = chapter.comparison
    rows = []
    for number, method in enumerate(comparison.methods, start=1):
        first = score(method, chapter.metric)
        others = [cell(score(method, name)) for name in comparison.metrics[1:]]
        rows.append(
            (
                method.label + (" (reference)" if method.is_reference else ""),
                str(number),
                cell(first),
                formatting.number(first.sd),
                str(len(method.runs)),
                *others,
            )
        )
    return Table(
        f"Ranking: mean over the runs of a method with its {chapter.percent} interval, on "
        f"{formatting.plural(comparison.n_cases, 'test case')}; SD: of the {chapter.metric_words} over the runs.",
        (
            "method",
            "rank",
            chapter.metric_words,
            "SD",
            "runs",
            *(formatting.metric(name) for name in comparison.metrics[1:]),
        ),
        tuple(rows),
        numeric=len(comparison.metrics) + 3,
        strong=frozenset(number for number, method in enumerate(comparison.methods) if method.is_reference),
    )


def _rows(methods: tuple[Method, ...]) -> list[Block]:
    """Line on the reference rows."""
    fitted = [method.label for method in methods if method.is_row]
    if not fitted:
        return []
    names = formatting.listed(fitted, most=30)
    return [Paragraph(f"Reference rows, fitted by scikit-learn to the table alone: {names}.")]


def _tests(chapter: Chapter) -> list[Block]:
    comparison = chapter.comparison
    if comparison.reference is None:
        return [Paragraph("There are no tests: the reference is not among the runs.", kind="missing")]
    if not comparison.tests:
        return [
            Paragraph("There are no tests: no other method has runs that pair with the reference's.", kind="missing")
        ]
    kinds = list(dict.fromkeys(formatting.KINDS.get(test.kind, test.kind) for test in comparison.tests))
    blocks: list[Block] = [
        Paragraph(
            f"Each method is tested against {comparison.reference} on the same cases ({formatting.listed(kinds)}). "
            "Runs of the same seed and fold are paired, and the test is of the difference shown, the mean over the "
            "pairs. Holm's correction counts all methods tested on the same metric. With a corrected p below 0.05 a "
            "method is called better or worse; no significant difference does not mean equal."
        )
    ]
    if all(test.kind != OVER_FOLDS for test in comparison.tests):
        blocks.append(
            Paragraph(
                "On one split the tests, like all intervals, are about other test cases only: whether these trained "
                "models would differ on other cases. The variation between seeds is in the SD alone."
            )
        )
    shown: list[Block] = []
    others: list[Table] = []
    for name, kind in dict.fromkeys((test.metric, test.kind) for test in comparison.tests):
        table = _test(chapter, name, kind)
        if name == chapter.metric:
            shown.append(table)
        else:
            others.append(table)
    if others:
        shown.append(Lid(f"Tests of the other metrics: {formatting.plural(len(others), 'table')}", tuple(others)))
    return blocks + shown


def _test(chapter: Chapter, metric: str, kind: str) -> Table:
    comparison = chapter.comparison
    what = f"{formatting.metric(metric)} against {comparison.reference}: {formatting.KINDS.get(kind, kind)}."
    without: dict[str, list[str]] = {}
    for test in comparison.tests:
        if (test.metric, test.kind) == (metric, kind) and test.reason:
            without.setdefault(test.reason, []).append(test.method)
    for reason, methods in without.items():
        what += f" No interval for {formatting.listed(methods, most=30)}: {reason}."
    return Table(
        f"{what[0].upper()}{what[1:]}",
        ("method", "verdict", "difference", "p", "p, Holm", "pairs of runs"),
        tuple(
            (
                test.method,
                VERDICTS[test.better] if np.isfinite(test.p_holm) else "not tested",
                formatting.interval(test.difference, test.low, test.high, sign=True),
                formatting.p_value(test.p),
                formatting.p_value(test.p_holm),
                str(test.n_runs),
            )
            for test in comparison.tests
            if (test.metric, test.kind) == (metric, kind)
        ),
        numeric=4,
    )
