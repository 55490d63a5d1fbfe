"""Cautions for the reader of a table, one sentence each."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from mmfusion.comparison.analysis.grouping import Table
from mmfusion.comparison.analysis.judged import Judged
from mmfusion.comparison.analysis.learning import hardware
from mmfusion.comparison.analysis.methods import shown
from mmfusion.comparison.analysis.metric_names import metric as metric_words
from mmfusion.comparison.analysis.results import Method, Surroundings
from mmfusion.comparison.finished_run import FinishedRun
from mmfusion.experiments.recipes import SHARED
from mmfusion.metrics import definitions
from mmfusion.metrics.calibration import BOUNDS, UNDETERMINED
from mmfusion.metrics.cases import MARKED
from mmfusion.metrics.classification import EXTRA
from mmfusion.metrics.differences import LEAST_SPLITS
from mmfusion.metrics.two_sources import LEAST_SEEDS

LEAST_FOLDS = 4
"""With fewer, Student's factor for a 95% interval is above 4."""

# Settings that are the same for all methods, or that do not change the training.
_NOT_TUNED = {*SHARED["train"], "freeze", "precompute", "phase_epochs"}


Texts = Iterator[str]


def notes(runs: Iterable[FinishedRun]) -> Texts:
    """Notes of the datasets: leaks, licences, cases left out."""
    yield from dict.fromkeys(str(note) for run in runs for note in run.metrics.get("notes", ()))


def noise(methods: Sequence[Method], metric: str, resolution: float, n_cases: int, folds: int) -> Texts:
    """Standard error of a single run from the cases alone, and how many methods are within twice that of the best.

    Args:
        methods: Best first.
        metric: The metric that ranks.
        resolution: Twice the standard error of a single run that the test cases cause.
        n_cases: Number of test cases.
        folds: Number of folds.
    """
    ranked = [method for method in methods if method.whole is None and np.isfinite(method.scores[metric].mean)]
    if len(ranked) < 2 or not np.isfinite(resolution):
        return
    best = ranked[0].scores[metric].mean
    near = [method for method in ranked[1:] if abs(best - method.scores[metric].mean) < resolution]
    if near:
        cases = f"{n_cases} test cases" + (f" in {folds} folds" if folds > 1 else "")
        others = "All others" if len(near) == len(ranked) - 1 else f"{len(near)} of {len(ranked) - 1} others"
        yield (
            f"With {cases} the {metric_words(metric)} of a run has a standard error near {resolution / 2:.3f} from "
            f"the test cases alone. {others} are within twice that of the first, {ranked[0].label}; only the paired "
            "tests say whether one is better."
        )


def seeds(methods: Sequence[Method]) -> Texts:
    """Seeds and folds that differ between methods, or are too few."""
    models = {m.label: {(run.fold, run.seed) for run in m.runs} for m in methods if not m.is_row}
    everything = set().union(*models.values())
    fewer = {label: len(pairs) for label, pairs in models.items() if pairs != everything}
    if fewer:
        listed = ", ".join(f"{label} {n}" for label, n in fewer.items())
        yield (
            f"Not every method has a run for each of the {len(everything)} pairs of fold and seed (number of runs: "
            f"{listed}): the means are over different runs."
        )
    folds, most = {fold for fold, _ in everything}, len({seed for _, seed in everything})
    if len(folds) == 1 and most < LEAST_SEEDS:
        runs = "a single seed" if most == 1 else f"{most} seeds"
        yield (
            f"The methods have {runs} on one split: there is no verdict on methods, which needs {LEAST_SEEDS} seeds "
            "(--seeds)."
        )
    if 1 < len(folds) < LEAST_FOLDS:
        text = (
            f"a paired test has {len(folds) - 1} degrees of freedom, so that its intervals are very wide and only a "
            "very large difference is significant"
        )
        if len(folds) < LEAST_SPLITS:
            text = (
                f"no difference has an interval or a test: {len(folds)} values leave 1 degree of freedom for their "
                "variance"
            )
        yield f"With {len(folds)} folds {text}: use at least {LEAST_FOLDS} folds."


def small_classes(runs: Iterable[Judged], classes: Sequence[str]) -> Texts:
    """Classes with so few test cases that nothing is known of how their intervals cover."""
    fewest: dict[str, int] = {}
    for judged in runs:
        counts = judged.test_cases.cases_of_class
        for name in judged.test_cases.marked():
            n = int(counts[classes.index(name)])
            fewest[name] = min(n, fewest.get(name, n))
    if fewest:
        listed = ", ".join(f"{name} {n}" for name, n in fewest.items())
        yield (
            f"Classes with fewer than {MARKED} test cases ({listed}): how the intervals of their own metrics, and of "
            "means over classes, cover is not known."
        )


def without_interval(methods: Sequence[Method], metrics: Sequence[str]) -> Texts:
    """Shown metrics that have a value and no interval, by the reason."""
    by_reason: dict[str, dict[str, None]] = {}
    for method in methods:
        for metric in metrics:
            if (reason := method.scores[metric].reason) and np.isfinite(method.scores[metric].mean):
                by_reason.setdefault(reason, {})[metric_words(metric)] = None
    for reason, names in by_reason.items():
        yield f"Without an interval in some or all rows: {', '.join(names)}: {reason}."


def calibration(methods: Sequence[Method]) -> Texts:
    """Temperatures at the ends of the search range, which are no minimum."""
    if listed := _having(methods, BOUNDS):
        yield (
            f"In some runs ({listed}) the temperature is {BOUNDS[0]:g} or {BOUNDS[1]:g}, an end of its search range: "
            "the validation set determines none, as for a model that is no better than chance. Ignore the scaled "
            "calibration of these runs."
        )
    if listed := _having(methods, (UNDETERMINED,)):
        yield (
            f"In some runs ({listed}) the validation set determines no temperature, as its cases are of one class or "
            "all classified correctly: their scaled calibration is the unscaled one."
        )


def _having(methods: Sequence[Method], temperatures: Sequence[float]) -> str:
    """Methods with runs of one of these temperatures, and the number of such runs."""
    counts = {method.label: sum(run.temperature in temperatures for run in method.runs) for method in methods}
    return ", ".join(f"{label} {n}" for label, n in counts.items() if n)


def undefined(runs: Collection[Judged], metrics: Sequence[str], classes: Sequence[str]) -> Texts:
    """Metrics that are undefined on test sets without cases of some classes.

    Args:
        runs: One run per test set.
        metrics: Metrics that are shown.
        classes: Names.
    """
    # By absent classes: one sentence for each combination.
    by_absent: dict[tuple[str, ...], list[Judged]] = {}
    for judged in runs:
        if lacking := tuple(definitions.without_cases(judged.cases.labels, classes)):
            by_absent.setdefault(lacking, []).append(judged)
    extra = [name for name in metrics if name in EXTRA]
    for lacking, members in by_absent.items():
        folds = ", ".join(str(fold) for fold in sorted(judged.run.fold for judged in members))
        names = definitions.undefined(members[-1].cases.labels, len(classes), names=classes, extra=extra)
        always = {f"accuracy_{name}" for name in lacking}
        without = [name for name in names if name in metrics or name in always]
        everywhere = len(members) == len(runs)
        cases = "The test set" if everywhere else f"The test set of fold {folds}"
        more = "" if everywhere else " Means over the folds leave these folds out."
        yield definitions.undefined_sentence(lacking, without, cases) + more


def budget(methods: Sequence[Method]) -> Texts:
    """Methods that need more than the others."""
    for method in methods:
        if method.beyond is not None:
            yield f"{method.label} needs more than the equal budget: {method.beyond}."


def tuning(methods: Sequence[Method]) -> Texts:
    """Training settings that differ between methods."""
    # The precision is a setting of the run, but changes the training.
    trained = [
        {**method.settings["train"], "precision": method.settings["run"].get("precision")}
        for method in methods
        if not method.is_row
    ]
    keys = {key for settings in trained for key in settings} - _NOT_TUNED
    uneven = sorted(key for key in keys if len({repr(settings.get(key)) for settings in trained}) > 1)
    if uneven:
        yield f"Not all methods were trained with the same {', '.join(uneven)}."


def trials(methods: Sequence[Method]) -> Texts:
    """Numbers of trials that differ between methods."""
    counts = {
        method.label: max((tuning.n_trials for tuning in method.tunings), default=0)
        for method in methods
        if not method.is_row and not method.at_recipe
    }
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{label} {n or 'none'}" for label, n in counts.items())
        yield f"Not all methods were tuned with the same number of trials ({listed}): more trials are an advantage."


def options(methods: Sequence[Method]) -> Texts:
    """Unusual options that all methods share, so that no label has them."""
    unusual = {
        key: value
        for method in methods
        for key, value in method.changed.items()
        if key in method.settings["model"] and key not in SHARED["model"] and key not in method.options
    }
    if unusual:
        listed = ", ".join(f"{key}={shown(value)}" for key, value in sorted(unusual.items()))
        yield (
            f"All methods with these options have {listed}, which differs from the defaults, the recipe and the preset."
        )


def surroundings(runs: Iterable[FinishedRun]) -> tuple[Surroundings, ...]:
    """Versions and hardware of the runs, the most frequent first."""
    unique: dict[tuple[object, ...], Surroundings] = {}
    count: Counter[tuple[object, ...]] = Counter()
    for run in runs:
        if run.environment is None:
            continue
        versions = {str(name): str(version) for name, version in dict(run.environment.get("versions") or {}).items()}
        commit, device = run.environment.get("commit"), run.environment.get("device")
        key = commit, tuple(sorted(versions.items())), device, hardware(run)
        count[key] += 1
        unique[key] = Surroundings(0, commit, versions, device, hardware(run) or None)
    return tuple(replace(unique[key], n_runs=n) for key, n in count.most_common())


def versions(around: Sequence[Surroundings], runs: Iterable[FinishedRun]) -> Texts:
    """Versions and hardware that differ, are unknown or belong to no commit.

    Args:
        around: From :func:`surroundings`.
        runs: The same runs.
    """
    for what, values in (
        ("commits", {env.commit for env in around}),
        ("versions of packages", {tuple(sorted(env.versions.items())) for env in around}),
        ("devices", {(env.device, env.hardware) for env in around}),
    ):
        if len(values) > 1:
            yield f"The runs were made with {len(values)} different {what}."
    if unclean := sum(env.n_runs for env in around if str(env.commit).endswith("+changes")):
        yield f"{unclean} runs were made from a checkout with uncommitted changes."
    if around and (unknown := sum(run.environment is None and run.row is None for run in runs)):
        yield f"{unknown} runs do not record their versions and hardware."


def data(table: Table) -> Texts:
    """Runs with the same settings and different test cases."""
    if table.conflict is not None:
        yield (
            f"{table.conflict[0]} has the settings of {table.conflict[1]}, but different test cases, patients or "
            "labels: the data changed between them, so that the runs on each version are a separate comparison."
        )


def missing(runs: Sequence[FinishedRun]) -> Texts:
    """Files and classes that some runs lack, and the values used in their place."""
    binary = [run for run in runs if len(run.classes) == 2]
    instead = "0.5 is used for sensitivity, specificity and G-mean"
    if n := sum(run.validation is None and run.metrics.get("threshold") is None for run in binary):
        yield f"{n} runs have neither predictions of the validation set nor a threshold: {instead}."
    chosen = [run for run in binary if run.settings.train.threshold is None]
    lacking = [
        run for run in chosen if run.validation and definitions.without_cases(run.validation.labels, run.classes)
    ]
    if lacking:
        yield f"In {len(lacking)} runs the validation set lacks a class and chooses no threshold: {instead}."
