"""Chapter part: tuning, the search spaces, what was chosen, and what it brought."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mmfusion.comparison.analysis.results import Method
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.chapters.chapter import Chapter, Part, cell, score
from mmfusion.comparison.report.line_plot import Trend, trends
from mmfusion.comparison.tuning_record import Tuning


def part(chapter: Chapter) -> Part | None:
    """Tables of a tuned comparison, and the expected best score by the number of trials; None without tuning."""
    methods = [method for method in chapter.comparison.methods if method.tunings]
    if not methods:
        return None
    first = methods[0].tunings[0]
    picture = _picture(chapter, methods)
    n_shown = _shown(max(tuning.n_trials for _, tuning, _ in _each(methods)))
    return Part(
        chapter.key("tuning"),
        "Tuning: did every method have the same chance?",
        "tuning",
        methods,
        [] if picture is None else [picture],
        values={
            "trials": formatting.listed(
                dict.fromkeys(str(tuning.n_trials) for _, tuning, _ in _each(methods)),
            ),
            "metric": formatting.metric(first.metric),
            "seeds": [str(seed) for seed in first.seeds],
            "budget": formatting.number(sum(tuning.hours for _, tuning, _ in _each(methods)), 2),
            "chosen": [_chosen(*row) for row in _each(methods)],
            "spaces": _spaces(methods),
            "dropped": _dropped(methods),
            "n_shown": [str(n) for n in n_shown],
            "expected": [_expected(*row, n_shown) for row in _each(methods)],
            "compute": [_compute(*row) for row in _each(methods)],
            "diverged": sum(tuning.n_diverged for _, tuning, _ in _each(methods)),
            "beside": _beside(chapter),
        },
    )


def _each(methods: Sequence[Method]) -> Iterator[tuple[str, Tuning, Method]]:
    """Each choice with its label: the method's, and with several folds the fold's."""
    for method in methods:
        folds = list(dict.fromkeys(run.fold for run in method.runs))
        for fold, tuning in zip(folds, method.tunings):
            yield method.label + (f", fold {fold}" if len(method.tunings) > 1 else ""), tuning, method


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else formatting.setting(value)


def _chosen(label: str, tuning: Tuning, method: Method) -> tuple[str, ...]:
    choice = tuning.choice
    values = ", ".join(f"{_short(key)} {_value(value)}" for key, value in choice.values.items())
    borders = ", ".join(f"{_short(key)} ({where})" for key, where in tuning.borders.items())
    which = "recipe" if not tuning.chosen else str(tuning.chosen)
    return label, values or formatting.NONE, borders or formatting.NONE, which, formatting.number(choice.mean, 4)


def _short(key: str) -> str:
    """A setting without its section."""
    return key.partition(".")[2]


def _spaces(methods: Sequence[Method]) -> list[tuple[str, str, str]]:
    """Setting, range and the methods that have it."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for _, tuning, method in _each(methods):
        for key, words in tuning.space.items():
            found.setdefault((key, words), {})[method.label] = None
    return [(key, words, _all(labels, methods)) for (key, words), labels in found.items()]


def _dropped(methods: Sequence[Method]) -> list[tuple[str, str, str]]:
    """Setting, why it was not tuned, and the methods."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for _, tuning, method in _each(methods):
        for key, reason in tuning.dropped.items():
            found.setdefault((key, reason), {})[method.label] = None
    return [(key, reason, _all(labels, methods)) for (key, reason), labels in found.items()]


def _all(labels: Mapping[str, None], methods: Sequence[Method]) -> str:
    if len(labels) == len(methods) > 1:
        return "all"
    return formatting.listed(labels, 30)


def _shown(n_trials: int) -> list[int]:
    """1, 2, 4, ... trials."""
    return [2**power for power in range(n_trials.bit_length())]


def _expected(label: str, tuning: Tuning, method: Method, numbers: Sequence[int]) -> tuple[str, ...]:
    best, recipe = tuning.expected_best(), tuning.recipe.scores[0]
    cells = [formatting.number(float(best[n - 1])) if n <= len(best) else formatting.NONE for n in numbers]
    return label, formatting.number(math.nan if recipe is None else recipe), *cells


def _compute(label: str, tuning: Tuning, method: Method) -> tuple[str, ...]:
    seconds = 3600 * tuning.hours / max(tuning.n_runs - tuning.n_diverged, 1)
    return (
        label,
        str(tuning.n_runs),
        str(tuning.n_diverged),
        formatting.number(tuning.hours, 2),
        formatting.number(seconds, 1),
    )


def _beside(chapter: Chapter) -> list[tuple[str, ...]]:
    """Each tuned method with its score at the recipe and the difference that tuning made."""
    methods = chapter.comparison.methods
    rows = []
    for method in methods:
        for untuned in (other for other in methods if other.at_recipe and other.whole == method.label):
            test = next(
                t for t in chapter.comparison.recipe_tests if t.method == untuned.label and t.metric == chapter.metric
            )
            # The test is of the recipe, less what is tuned.
            difference = formatting.interval(-test.difference, -test.high, -test.low, sign=True)
            if all(not tuning.chosen for tuning in method.tunings):
                difference = "the recipe was chosen"
            scores = (cell(score(one, chapter.metric)) for one in (method, untuned))
            rows.append((method.label, *scores, difference))
    return rows


def _picture(chapter: Chapter, methods: Sequence[Method]) -> Picture | None:
    lines = []
    for method in chapter.drawn(methods):
        # Folds have the same numbers of trials.
        best = np.mean([tuning.expected_best() for tuning in method.tunings], axis=0)
        if np.isfinite(best).any() and len(best) > 1:
            n = np.arange(1.0, len(best) + 1)
            lines.append(Trend(method.label, n, best, chapter.style(method)))
    if not lines:
        return None
    metric = formatting.metric(methods[0].tunings[0].metric)
    return trends(
        chapter.key("tuning", "expected"),
        f"Expected best validation {metric} by the number of trials",
        f"Expected best validation {metric} of {formatting.plural(len(lines), 'method')} against the number of trials; "
        "the numbers are in the table below.",
        lines,
        x="trials beside the recipe",
        y=f"validation {metric}",
        whole=True,
    )
