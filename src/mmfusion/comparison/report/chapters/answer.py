"""Summary of a comparison: its methods and data, and the result with its uncertainty."""

from collections.abc import Sequence
from statistics import median

from mmfusion.comparison.analysis.results import Method, Named, PairedTest
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.chapters.chapter import Chapter, cell, score


def compared(chapter: Chapter) -> str:
    """Sentence on the compared methods and the data."""
    comparison = chapter.comparison
    groups = ""
    if comparison.n_groups != comparison.n_cases:
        groups = f" of {formatting.plural(comparison.n_groups, 'patient or lesion', 'patients or lesions')}"
    labels = [method.label for method in comparison.methods if not method.at_recipe and not method.is_row]
    n_rows = sum(method.is_row for method in comparison.methods)
    listed = formatting.plural(len(labels), "method") + (f" ({formatting.listed(labels, most=8)})" if labels else "")
    rows = f" and {formatting.plural(n_rows, 'reference row')}" if n_rows else ""
    runs = len({run.folder for method in comparison.methods for run in method.runs})
    folds = f" and {formatting.plural(comparison.folds, 'fold')}" if comparison.folds > 1 else ""
    return (
        f"{listed}{rows} on "
        f"{comparison.dataset}: {formatting.plural(len(comparison.classes), 'class', 'classes')}, "
        f"{formatting.plural(comparison.n_cases, 'test case')}{groups}; "
        f"{formatting.plural(len(comparison.seeds), 'seed')}{folds}, {formatting.plural(runs, 'run')} in all."
    )


def answer(chapter: Chapter, wanted: str) -> str:
    """Sentences on the result, after how the methods were tuned.

    Args:
        chapter: The comparison.
        wanted: Name of the requested reference, which may be missing.
    """
    return f"{footing(chapter.comparison.methods)} {_result(chapter, wanted)}".strip()


def footing(methods: Sequence[Method]) -> str:
    """How the methods were tuned, to begin the answer; empty where there are reference rows alone."""
    counts = {
        max((tuning.n_trials for tuning in method.tunings), default=0)
        for method in methods
        if not method.is_row and not method.at_recipe
    }
    if not counts:
        return ""
    if counts == {0}:
        return "At this recipe, without tuning:"
    if len(counts) > 1:
        return "With unequal tuning:"
    return f"Tuned with {formatting.plural(counts.pop(), 'trial')} each:"


def _result(chapter: Chapter, wanted: str) -> str:
    comparison = chapter.comparison
    best, *others = chapter.ranked
    number = cell(score(best, chapter.metric))
    value = f"{chapter.metric_words}, {number}"
    label = f"{best.label}, a reference row," if best.is_row and not best.is_reference else best.label
    if not others:
        return (
            f"{best.label} reaches {chapter.metric_words} {number}. It is the only method, so there is nothing to "
            "compare it with."
        )
    if comparison.reference is None:
        return (
            f"{label} has the {chapter.best_is} {value}, but nothing was tested: the reference, {wanted}, is not "
            "among the runs, so no method can be said to be better than another."
        )
    tests = [test for test in comparison.tests if test.metric == chapter.metric]
    best_test = next((test for test in tests if test.method == best.label), None)
    judged = [test for test in tests if test.verdict != "none"]
    rows = {method.label for method in comparison.methods if method.is_row}
    if tests and not judged:
        of_methods = [test for test in tests if test.method not in rows]
        return f"{_no_verdict(of_methods or tests)} {_largest(label, chapter, best_test, value)}"
    others_words = _others(
        [test for test in judged if test.method not in rows], comparison.reference, comparison.margin
    )
    if best.is_reference:
        return f"The reference {best.label} has the {chapter.best_is} {value}. {others_words}"
    against = _best(best_test, comparison.reference, comparison.named)
    return f"{label} has the {chapter.best_is} {value}. {against} {others_words}"


def _no_verdict(tests: list[PairedTest]) -> str:
    """Why nothing may be said of methods."""
    reasons = list(dict.fromkeys(reason for test in tests if (reason := test.no_verdict or test.reason)))
    return f"There is no verdict on methods: {'; '.join(reasons) or 'no difference could be tested'}."


def _largest(label: str, chapter: Chapter, test: PairedTest | None, value: str) -> str:
    """The best number, as one of trained models."""
    reference = chapter.comparison.reference
    which = "Of these trained models, that of" if all(len(m.runs) == 1 for m in chapter.ranked) else "Of these runs,"
    if test is None:
        return f"{which} {label}, the reference, has the {chapter.best_is} {value}."
    difference = formatting.interval(test.difference, test.low, test.high, sign=True)
    sources = "for other test cases only" if test.n_runs == 1 else "for other test cases and training runs"
    interval = f", an interval {sources}" if test.low == test.low else ""
    return (
        f"{which} {label} has the {chapter.best_is} {value}; its difference to {reference} is {difference}{interval}."
    )


def _best(test: PairedTest | None, reference: str, named: Named) -> str:
    if test is None or test.verdict == "none":
        reason = (test.reason or test.no_verdict) if test is not None else ""
        return f"It could not be tested against {reference}, the reference{': ' if reason else ''}{reason}."
    difference = formatting.interval(test.difference, test.low, test.high, sign=True)
    words = {
        "better": "chance alone does not explain it",
        "worse": "chance alone does not explain it",
        "equal": "the two count as equal",
        "no worse": "it is no worse",
        "open": "it may be chance",
    }
    return (
        f"Against {reference}, {formatting.REFERENCES[named]}, the difference is {difference}, Holm-corrected "
        f"{formatting.p_phrase(test.p_holm)}: {words[test.verdict]}."
    )


def _others(tests: list[PairedTest], reference: str, margin: float | None) -> str:
    if not tests:
        return f"No method could be tested against {reference}."
    words = {
        "better": "better than",
        "worse": "worse than",
        "equal": f"equal within {margin} to",
        "no worse": f"no worse by {margin} than",
        "open": "without a significant difference from",
    }
    parts: list[str] = []
    for verdict, phrase in words.items():
        labels = [test.method for test in tests if test.verdict == verdict]
        if labels:
            listed = "" if verdict == "open" else f" ({formatting.listed(labels)})"
            parts.append(f"{len(labels)} {phrase} {'it' if parts else reference}{listed}")
    known = [test.detectable for test in tests if test.detectable == test.detectable]
    power = ""
    if known and any(test.verdict == "open" for test in tests):
        power = f" A difference of {formatting.number(median(known))} would have been found with 80% power."
    return f"Of {formatting.plural(len(tests), 'method')} tested, after correction: {', '.join(parts)}.{power}"
