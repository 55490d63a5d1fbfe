"""What a reader must know before believing a table, a sentence each."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from mmfusion.comparison.analysis.grouping import Table
from mmfusion.comparison.analysis.learning import hardware
from mmfusion.comparison.analysis.methods import shown
from mmfusion.comparison.analysis.resampling import Judged
from mmfusion.comparison.analysis.results import Caution, Method, Surroundings
from mmfusion.comparison.finished_run import FinishedRun
from mmfusion.experiments.recipes import SHARED
from mmfusion.metrics.calibration import BOUNDS, UNDETERMINED
from mmfusion.metrics.classification import EXTRA
from mmfusion.metrics.definitions import undefined as not_defined
from mmfusion.metrics.definitions import undefined_sentence, without_cases
from mmfusion.metrics.intervals import LEAST_SPLITS

LEAST_SEEDS = 5
"""What a benchmark on a fixed split should have."""

LEAST_FOLDS = 4
"""With fewer, Student's factor for a 95% interval is above 4."""

# What is not tuned for a method but asked of all, or tells nothing about its training.
_NOT_TUNED = {*SHARED["train"], "freeze", "precompute", "phase_epochs"}


def notes(runs: Iterable[FinishedRun]) -> list[Caution]:
    """Those of the datasets: leaks, licences, cases left out."""
    found = {str(note): None for run in runs for note in run.metrics.get("notes", ())}
    return [Caution("note", note) for note in found]


def noise(methods: Sequence[Method], metric: str, resolution: float, n_cases: int, folds: int) -> list[Caution]:
    """Whether the test part can tell the best from those behind it.

    Args:
        methods: Best first.
        metric: That ranks.
        resolution: Of two single runs.
        n_cases: Of the test part.
        folds: Test parts.
    """
    ranked = [method for method in methods if np.isfinite(method.scores[metric].mean)]
    if len(ranked) < 2 or not np.isfinite(resolution):
        return []
    best = ranked[0].scores[metric].mean
    near = [method for method in ranked[1:] if abs(best - method.scores[metric].mean) < resolution]
    if not near:
        return []
    parts = f"{n_cases} test cases" + (f" in {folds} folds" if folds > 1 else "")
    all_in_reach = "all others" if len(near) == len(ranked) - 1 else f"{len(near)} of {len(ranked) - 1} others"
    return [
        Caution(
            "noise",
            f"With {parts} the {_said(metric)} of a run has a standard error near {resolution / 2:.3f}: on one split a "
            f"difference below {resolution:.3f} is noise. {all_in_reach.capitalize()} are that near to the first, "
            f"{ranked[0].label}; only the paired tests say whether one is better.",
        )
    ]


def _said(metric: str) -> str:
    return metric.upper() if metric in ("auc", "mcc", "ece") else metric.replace("_", " ")


def seeds(methods: Sequence[Method]) -> list[Caution]:
    """Unequal seeds and folds, or too few."""
    out: list[Caution] = []
    have = {method.label: {(run.fold, run.seed) for run in method.runs} for method in methods}
    models = {method.label: have[method.label] for method in methods if not method.is_row}
    if not models:
        return out
    everything = set().union(*models.values())
    fewer = {label: len(own) for label, own in models.items() if own != everything}
    if fewer:
        listed = ", ".join(f"{label} {n}" for label, n in fewer.items())
        out.append(
            Caution(
                "seeds",
                f"Not every method has all {len(everything)} seeds and folds that occur ({listed}): their means are "
                "over different runs.",
            )
        )
    folds, most = {fold for fold, _ in everything}, len({seed for _, seed in everything})
    if len(folds) == 1 and most < LEAST_SEEDS:
        runs = "a single seed" if most == 1 else f"{most} seeds"
        out.append(
            Caution(
                "seeds", f"The methods have {runs} on one split; a result needs {LEAST_SEEDS} seeds or several folds."
            )
        )
    if 1 < len(folds) < LEAST_FOLDS:
        if len(folds) < LEAST_SPLITS:
            said_so = (
                f"With {len(folds)} folds no difference has an interval or a test: what {len(folds)} values vary by, "
                "1 degree of freedom, says next to nothing"
            )
        else:
            said_so = (
                f"With {len(folds)} folds a paired test has {len(folds) - 1} degrees of freedom, so that its intervals "
                "are very wide and only a huge difference is told"
            )
        out.append(Caution("seeds", f"{said_so}: take {LEAST_FOLDS} folds or more."))
    return out


def calibration(methods: Sequence[Method]) -> list[Caution]:
    """Temperatures that ended where the search ends, so that they are no minimum."""
    out = []
    if listed := _having(methods, BOUNDS):
        out.append(
            Caution(
                "calibration",
                f"In some runs ({listed}) the temperature is {BOUNDS[0]:g} or {BOUNDS[1]:g}, where the search "
                "ends: validation has no best one, as where a model is no better than chance; what is scaled by it "
                "says nothing.",
            )
        )
    if listed := _having(methods, (UNDETERMINED,)):
        out.append(
            Caution(
                "calibration",
                f"In some runs ({listed}) validation determines no temperature, as its cases are of one class or all "
                "called rightly: what is called scaled is as it was.",
            )
        )
    return out


def _having(methods: Sequence[Method], temperatures: Sequence[float]) -> str:
    """Methods with runs of one of these temperatures, and how many."""
    found = {method.label: sum(run.temperature in temperatures for run in method.runs) for method in methods}
    return ", ".join(f"{label} {n}" for label, n in found.items() if n)


def undefined(parts: Iterable[Judged], metrics: Sequence[str], classes: Sequence[str]) -> list[Caution]:
    """Metrics that test sets leave undefined, since some classes have no cases there.

    Args:
        parts: A run of each test set.
        metrics: Those that are shown.
        classes: Names.
    """
    # By what is lacking, so that it is told once.
    folds: dict[tuple[str, ...], list[int]] = {}
    without: dict[tuple[str, ...], list[str]] = {}
    n_parts = 0
    for part in parts:
        n_parts += 1
        lacking = tuple(without_cases(part.cases.labels, classes))
        if lacking:
            folds.setdefault(lacking, []).append(part.run.fold)
            extra = [name for name in metrics if name in EXTRA]
            names = not_defined(part.cases.labels, len(classes), names=classes, extra=extra)
            own = {f"accuracy_{name}" for name in lacking}
            without[lacking] = [name for name in names if name in metrics or name in own]
    out = []
    for lacking, where in folds.items():
        listed = ", ".join(map(str, sorted(where)))
        cases = "The test set" if len(where) == n_parts else f"The test set of fold {listed}"
        text = undefined_sentence(lacking, without[lacking], cases)
        if len(where) < n_parts:
            text += " Means over the folds are of the other folds there."
        out.append(Caution("undefined", text))
    return out


def budget(methods: Sequence[Method]) -> list[Caution]:
    """Methods that need more than the others."""
    return [
        Caution("budget", f"{method.label} needs more than the equal budget: {method.beyond}.")
        for method in methods
        if method.beyond is not None
    ]


def tuning(methods: Sequence[Method]) -> list[Caution]:
    """Settings of training that are some methods' own."""
    # The precision is the run's, but what is trained in half of it is trained differently.
    trained = [
        {**method.settings["train"], "precision": method.settings["run"].get("precision")}
        for method in methods
        if not method.is_row
    ]
    keys = {key for one in trained for key in one} - _NOT_TUNED
    uneven = sorted(key for key in keys if len({repr(one.get(key)) for one in trained}) > 1)
    if not uneven:
        return []
    return [Caution("tuning", f"Not all methods were trained with the same {', '.join(uneven)}.")]


def options(methods: Sequence[Method]) -> list[Caution]:
    """Options of all models alike that are no model's usual ones: no label tells them."""
    found = {
        key: value
        for method in methods
        for key, value in method.changed.items()
        if key in method.settings["model"] and key not in SHARED["model"] and key not in method.options
    }
    if not found:
        return []
    listed = ", ".join(f"{key}={shown(value)}" for key, value in sorted(found.items()))
    return [
        Caution(
            "options",
            f"All methods that have these options were built with {listed}, which neither the defaults nor the recipe "
            "nor the preset say.",
        )
    ]


def surroundings(runs: Iterable[FinishedRun]) -> tuple[tuple[Surroundings, ...], list[Caution]]:
    """What the runs were made with, the most frequent first, and whether that differs."""
    found: dict[tuple[object, ...], Surroundings] = {}
    count: Counter[tuple[object, ...]] = Counter()
    unknown, unclean = 0, 0
    for run in runs:
        if run.environment is None:
            unknown += run.row is None
            continue
        versions = {str(name): str(version) for name, version in dict(run.environment.get("versions") or {}).items()}
        commit, device = run.environment.get("commit"), run.environment.get("device")
        unclean += str(commit).endswith("+changes")
        key = commit, tuple(sorted(versions.items())), device, hardware(run)
        count[key] += 1
        found[key] = Surroundings(0, commit, versions, device, hardware(run) or None)
    ordered = tuple(
        Surroundings(n, found[key].commit, found[key].versions, found[key].device, found[key].hardware)
        for key, n in count.most_common()
    )
    out = []
    for what, values in (
        ("commits", {one.commit for one in ordered}),
        ("versions of packages", {tuple(sorted(one.versions.items())) for one in ordered}),
        ("devices", {(one.device, one.hardware) for one in ordered}),
    ):
        if len(values) > 1:
            out.append(Caution("versions", f"The runs were made with {len(values)} different {what}."))
    if unclean:
        out.append(Caution("versions", f"{unclean} runs were made by a checkout with changes that no commit holds."))
    if unknown and ordered:
        out.append(Caution("versions", f"{unknown} runs do not say what they were made with."))
    return ordered, out


def data(table: Table) -> list[Caution]:
    """Whether the same settings occur with other cases."""
    if table.parted is None:
        return []
    one, other = table.parted
    return [
        Caution(
            "data",
            f"{one} has the settings of {other}, but other test cases, patients or labels: the data were changed in "
            "between, so that the runs on either version are a comparison of their own.",
        )
    ]


def missing(table: Table) -> list[Caution]:
    """What some runs lack that the numbers rest on."""
    runs = [run for group in table.groups for run in group.runs]
    out = []
    without = [run for run in runs if run.validation is None]
    bare = [run for run in without if len(run.classes) == 2 and run.metrics.get("threshold") is None]
    if bare:
        out.append(
            Caution(
                "missing",
                f"{len(bare)} runs keep neither predictions of validation nor a threshold: 0.5 is taken for "
                "sensitivity, specificity and G-mean.",
            )
        )
    blind = [
        run
        for run in runs
        if run.validation is not None
        and len(run.classes) == 2
        and run.settings.train.threshold is None
        and without_cases(run.validation.labels, run.classes)
    ]
    if blind:
        out.append(
            Caution(
                "missing",
                f"In {len(blind)} runs validation lacks a class and chooses no threshold: 0.5 is taken for "
                "sensitivity, specificity and G-mean.",
            )
        )
    return out
