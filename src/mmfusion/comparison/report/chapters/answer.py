"""Summary of a comparison: its methods and data, and the result with its uncertainty."""

from mmfusion.comparison.analysis.results import Named, PairedTest
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.chapters.chapter import Chapter, cell, score


def compared(chapter: Chapter) -> str:
    """Sentence on the compared methods and the data."""
    comparison = chapter.comparison
    groups = ""
    if comparison.n_groups != comparison.n_cases:
        groups = f" of {formatting.plural(comparison.n_groups, 'patient or lesion', 'patients or lesions')}"
    labels = [method.label for method in comparison.methods]
    runs = sum(len(method.runs) for method in comparison.methods)
    folds = f" and {formatting.plural(comparison.folds, 'fold')}" if comparison.folds > 1 else ""
    return (
        f"{formatting.plural(len(comparison.methods), 'method')} ({formatting.listed(labels, most=8)}) on "
        f"{comparison.dataset}: {formatting.plural(len(comparison.classes), 'class', 'classes')}, "
        f"{formatting.plural(comparison.n_cases, 'test case')}{groups}; "
        f"{formatting.plural(len(comparison.seeds), 'seed')}{folds}, {formatting.plural(runs, 'run')} in all."
    )


def answer(chapter: Chapter, wanted: str) -> str:
    """Sentences on the result.

    Args:
        chapter: The comparison.
        wanted: Name of the requested reference, which may be missing.
    """
    comparison = chapter.comparison
    best = comparison.methods[0]
    number = cell(score(best, chapter.metric))
    value = f"{chapter.metric_words}, {number}"
    if len(comparison.methods) == 1:
        return (
            f"{best.label} reaches {chapter.metric_words} {number}. It is the only method, so there is nothing to "
            "compare it with."
        )
    if comparison.reference is None:
        return (
            f"{best.label} has the {chapter.best_is} {value}, but nothing was tested: the reference, {wanted}, is not "
            "among the runs, so no method can be said to be better than another."
        )
    tests = [test for test in comparison.tests if test.metric == chapter.metric]
    if best.is_reference:
        return f"The reference {best.label} has the {chapter.best_is} {value}. {_others(tests, comparison.reference)}"
    best_test = next((test for test in tests if test.method == best.label), None)
    against = _best(best_test, comparison.reference, comparison.named)
    return f"{best.label} has the {chapter.best_is} {value}. {against} {_others(tests, comparison.reference)}"


def _best(test: PairedTest | None, reference: str, named: Named) -> str:
    if test is None or test.p_holm != test.p_holm:
        reason = f": {test.reason}" if test is not None and test.reason else ""
        return f"It could not be tested against {reference}, the reference{reason}."
    difference = formatting.interval(test.difference, test.low, test.high, sign=True)
    verdict = "it may be chance" if test.better is None else "chance alone does not explain it"
    return (
        f"Against {reference}, {formatting.REFERENCES[named]}, the difference is {difference}, Holm-corrected "
        f"{formatting.p_phrase(test.p_holm)}: {verdict}."
    )


def _others(tests: list[PairedTest], reference: str) -> str:
    tested = [test for test in tests if test.p_holm == test.p_holm]
    if not tested:
        return f"No method could be tested against {reference}."
    better = [test.method for test in tested if test.better is True]
    worse = [test.method for test in tested if test.better is False]
    open_ = len(tested) - len(better) - len(worse)
    parts = []
    if better:
        parts.append(f"{len(better)} better than {reference} ({formatting.listed(better)})")
    if worse:
        parts.append(
            f"{len(worse)} worse ({formatting.listed(worse)})"
            if better
            else f"{len(worse)} worse than {reference} ({formatting.listed(worse)})"
        )
    if open_:
        parts.append(f"{open_} without a significant difference from {'it' if parts else reference}")
    return f"Of {formatting.plural(len(tested), 'method')} tested, after correction: {', '.join(parts)}."
