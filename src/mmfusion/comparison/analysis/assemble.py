"""Analysis of finished runs: tables, tests and curves of a report."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from mmfusion.comparison.analysis import cautions, curves, grouping, learning, modalities, paired
from mmfusion.comparison.analysis.ensembles import ensembles
from mmfusion.comparison.analysis.families import family
from mmfusion.comparison.analysis.grouping import Table
from mmfusion.comparison.analysis.held_out import n_validation, sizes
from mmfusion.comparison.analysis.judged import judge
from mmfusion.comparison.analysis.methods import Group
from mmfusion.comparison.analysis.repeated import Repeats, repeated
from mmfusion.comparison.analysis.resampling import Sampled, sample
from mmfusion.comparison.analysis.results import Analysis, Caution, Comparison, Method, Named, PairedTest
from mmfusion.comparison.analysis.scores import RunPoint
from mmfusion.comparison.analysis.scoring import method_scores
from mmfusion.comparison.analysis.subgroup_scores import gaps, subgroup_scores
from mmfusion.comparison.analysis.subgroups import shared
from mmfusion.comparison.analysis.wholes import wholes
from mmfusion.comparison.finished_run import FinishedRun
from mmfusion.metrics.classification import EXTRA, LOWER_IS_BETTER, NAMES, SETS, metric_set
from mmfusion.metrics.definitions import metric_range
from mmfusion.metrics.shared_classes import Shared

REFERENCE = "concat"
MARGIN = 0.01
"""Difference within which methods count as equal, where no other margin is named: of a metric from 0 to 1."""
ALL = "all"
_PER_CLASS = "accuracy_"


def analyse(
    runs: Sequence[FinishedRun],
    reference: str = REFERENCE,
    *,
    metrics: str | Sequence[str] = ALL,
    ranks: str = "auc",
    n_resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
    beforehand: bool = False,
    margin: float | None = None,
    repeats: Repeats | None = None,
) -> Analysis:
    """All tables, tests and curves of some runs.

    Args:
        runs: From :func:`~mmfusion.comparison.collect.collect`.
        reference: Label or model that the others are tested against.
        metrics: Metrics to show and to test: names, also of :data:`mmfusion.metrics.classification.EXTRA`, or the name
            of one of :data:`mmfusion.metrics.classification.SETS`, or ``all``. A metric that needs other classes than a
            comparison has is left out there.
        ranks: The metric that orders the methods and carries the verdicts; it is shown first.
        n_resamples: Number of bootstrap resamples.
        level: Coverage of the intervals, in (0, 1).
        seed: Of the bootstrap; the same runs and seed give the same numbers.
        beforehand: Whether the reference was named before the runs were made, which the runs do not record.
        margin: Difference of ``ranks`` within which methods count as equal; None: :data:`MARGIN` for a metric whose
            values are from 0 to 1, else no such test.
        repeats: Repeats of some of the runs, for their numerical noise; they count nowhere else.

    Returns:
        One comparison per set of runs that may share a table.

    Raises:
        ValueError: If a metric is in no comparison, if a comparison lacks the metric that ranks, or if the margin is
            not positive.
    """
    if margin is not None and not 0 < margin < np.inf:
        raise ValueError(f"margin expects a positive number, got {margin}")
    tables = grouping.tables(runs)
    known = available(runs)
    names = [] if isinstance(metrics, str) else list(metrics)
    unknown = [name for name in (*names, ranks) if name not in known]
    if unknown or (isinstance(metrics, str) and metrics not in (ALL, *SETS)):
        raise ValueError(
            f"unknown metric {', '.join(map(repr, unknown)) or repr(metrics)}; there are: {', '.join(known)}, or a "
            f"set of them: {', '.join((ALL, *SETS))}"
        )
    if lacking := [table.name for table in tables if ranks not in _of_classes(_classes(table))]:
        raise ValueError(f"ranks expects a metric that every comparison has, got {ranks!r}, which {lacking[0]} has not")
    named: Named = "beforehand" if beforehand else "default" if reference == REFERENCE else "report"
    comparisons = [
        _comparison(table, reference, named, metrics, ranks, margin, n_resamples=n_resamples, level=level, seed=seed)
        for table in tables
    ]
    if repeats:
        comparisons = [_with_noise(*pair, repeats) for pair in zip(comparisons, tables, strict=True)]
    return Analysis(tuple(comparisons), reference, level, n_resamples, seed)


def _with_noise(comparison: Comparison, table: Table, repeats: Repeats) -> Comparison:
    noise = {group.label: repeated(group.runs, repeats) for group in table.groups}
    methods = tuple(replace(method, noise=noise[method.label]) for method in comparison.methods)
    return replace(comparison, methods=methods)


def available(runs: Sequence[FinishedRun]) -> tuple[str, ...]:
    """Metrics that some of the runs have: those of every run, then those that depend on the classes."""
    class_sets = dict.fromkeys(run.classes for run in runs)
    return tuple(dict.fromkeys((*NAMES, *(name for classes in class_sets for name in _of_classes(classes)))))


def _of_classes(classes: Sequence[str]) -> tuple[str, ...]:
    return (*NAMES, *(f"{_PER_CLASS}{name}" for name in classes), *(EXTRA if len(classes) == 2 else ()))


def _classes(table: Table) -> tuple[str, ...]:
    return table.groups[0].runs[0].classes


def _comparison(
    table: Table,
    reference: str,
    named: Named,
    shown: str | Sequence[str],
    ranks: str,
    margin: float | None,
    *,
    n_resamples: int,
    level: float,
    seed: int,
) -> Comparison:
    runs = [run for group in table.groups for run in group.runs]
    classes = _classes(table)
    metrics = _metrics(shown, ranks, classes)
    extra = [name for name in metrics if name in EXTRA]
    judged = [judge(run) for run in runs]
    of_property = shared(judged)
    drawn = iter(sample(judged, n_resamples=n_resamples, seed=seed, extra=extra))
    sampled = {group.label: [next(drawn) for _ in group.runs] for group in table.groups}
    chosen_reference, reference_cautions = _reference(table, reference)
    set_sizes = sizes(runs)
    whole_of = {label: whole for label, whole in wholes(table.groups).items() if label != chosen_reference}
    if margin is None and metric_range(ranks, len(classes)) == (0.0, 1.0):
        margin = MARGIN
    rules = paired.Rules(ranks, level, margin)
    methods = [
        _method(group, sampled[group.label], group.label == chosen_reference, rules, of_property, set_sizes)
        for group in table.groups
    ]
    methods.sort(key=lambda method: (method.label in whole_of, *_place(method.scores[ranks].mean, ranks)))
    compared = {method.label: paired.Compared(method.label, sampled[method.label]) for method in methods}
    own = [compared[method.label] for method in methods if method.label not in whole_of]
    rank_of = paired.ranks(own, rules) if len(own) > 1 else {}
    methods = [replace(method, whole=whole_of.get(method.label), ranks=rank_of.get(method.label)) for method in methods]
    tests: list[PairedTest] = []
    if chosen_reference is not None:
        fitted = {method.label for method in methods if method.is_row}
        others = [one for one in own if one.label != chosen_reference]
        # Two families: how many reference rows there are, and so what is installed, changes no verdict on a method.
        for is_row in (False, True):
            family_members = [one for one in others if (one.label in fitted) == is_row]
            found, pairing_cautions = paired.against(family_members, compared[chosen_reference], metrics, rules)
            tests += found
            reference_cautions += [caution for caution in pairing_cautions if caution not in reference_cautions]
    ablation_tests: list[PairedTest] = []
    recipe_tests: list[PairedTest] = []
    for whole in dict.fromkeys(whole_of.values()):
        for at_recipe, into in ((False, ablation_tests), (True, recipe_tests)):
            parts = [compared[m.label] for m in methods if m.whole == whole and m.at_recipe == at_recipe]
            if parts:
                found, pairing_cautions = paired.against(parts, compared[whole], metrics, rules)
                into += found
                reference_cautions += pairing_cautions
    sampled_runs = [run for members in sampled.values() for run in members]
    test_sets = {run.judged.test_set: run.judged for run in sampled_runs}
    folds = {judged.run.fold for judged in test_sets.values()}
    labels = {
        case: label
        for judged in test_sets.values()
        for case, label in zip(judged.cases.ids.tolist(), judged.cases.labels)
    }
    groups = {group for judged in test_sets.values() for group in judged.cases.groups.tolist()}
    resolution = _resolution(sampled_runs, ranks)
    # A run whose trials chose the recipe is that of two methods.
    runs = list({run.folder: run for run in runs}.values())
    around = cautions.surroundings(runs)
    held_out = [n for run in runs if (n := n_validation(run)) is not None]
    return Comparison(
        name=table.name,
        dataset=table.dataset,
        shared=table.shared,
        classes=classes,
        prevalence={name: sum(int(label == c) for label in labels.values()) for c, name in enumerate(classes)},
        n_validation=float(np.mean(held_out)) if held_out else np.nan,
        n_cases=len(labels),
        n_groups=len(groups),
        folds=len(folds),
        seeds=tuple(sorted({run.seed for run in runs})),
        ceilings=next((run.metrics["ceilings"] for run in runs if run.metrics.get("ceilings")), {}),
        metrics=metrics,
        reference=chosen_reference,
        named=named,
        methods=tuple(methods),
        tests=tuple(tests),
        resolution=resolution,
        cautions=(
            *_cautions("noise", cautions.noise(methods, ranks, resolution, len(labels), len(folds))),
            *reference_cautions,
            *_cautions("undefined", cautions.undefined(test_sets.values(), metrics, classes)),
            *_cautions("few", cautions.small_classes(test_sets.values(), classes)),
            *_cautions("interval", cautions.without_interval(methods, metrics)),
            *_cautions("seeds", cautions.seeds(methods)),
            *_cautions("budget", cautions.budget(methods)),
            *_cautions("tuning", cautions.tuning(methods)),
            *_cautions("tuning", cautions.trials(methods)),
            *_cautions("options", cautions.options(methods)),
            *_cautions("calibration", cautions.calibration(methods)),
            *_cautions("versions", cautions.versions(around, runs)),
            *_cautions("data", cautions.data(table)),
            *_cautions("missing", cautions.missing(runs)),
            *_cautions("note", cautions.notes(runs)),
        ),
        surroundings=around,
        ablation_tests=tuple(ablation_tests),
        margin=margin,
        recipe_tests=tuple(recipe_tests),
        ensembles=ensembles(
            table.groups, sampled, n_resamples=n_resamples, level=level, seed=seed, extra=extra, set_sizes=set_sizes
        ),
        n_train=np.nan if set_sizes is None else set_sizes[0],
    )


def _cautions(kind: str, texts: Iterable[str]) -> Iterator[Caution]:
    return (Caution(kind, text) for text in texts)


def _metrics(shown: str | Sequence[str], ranks: str, classes: Sequence[str]) -> tuple[str, ...]:
    """The metric that ranks, then the others that these classes have."""
    if isinstance(shown, str):
        shown = NAMES if shown == ALL else metric_set(shown, classes)
    known = _of_classes(classes)
    return tuple(dict.fromkeys(name for name in (ranks, *shown) if name in known))


def _place(mean: float, metric: str) -> tuple[bool, float]:
    """Best first, undefined last."""
    return not np.isfinite(mean), mean if metric in LOWER_IS_BETTER else -mean


def _reference(table: Table, named: str) -> tuple[str | None, list[Caution]]:
    """Label of the reference; None and a caution unless exactly one method has the name."""
    labels = [group.label for group in table.groups]
    if named in labels:
        return named, []
    of_name = [group for group in table.groups if group.name == named]
    tuned = [group for group in of_name if group.tunings]
    of_model = [group.label for group in (tuned if len(tuned) == 1 else of_name)]
    if len(of_model) == 1:
        return of_model[0], []
    if not of_model:
        text = f"The reference {named} is not among the methods ({', '.join(labels)}): there are no tests."
    else:
        text = f"Several methods have the name {named} ({', '.join(of_model)}): tests need one of these labels."
    return None, [Caution("reference", text)]


def _method(
    group: Group,
    sampled: Sequence[Sampled],
    is_reference: bool,
    rules: paired.Rules,
    of_property: Mapping[str, Shared],
    set_sizes: tuple[float, float] | None,
) -> Method:
    runs, level = group.runs, rules.level
    subgroups = subgroup_scores(sampled, of_property, level, set_sizes)
    scaled = all(run.scaled for run in sampled)
    return Method(
        label=group.label,
        model=group.model,
        ablation=group.ablation,
        options=group.options,
        changed=group.changed,
        is_reference=is_reference,
        is_row=group.row is not None,
        beyond=None if group.row is not None else learning.beyond(runs),
        settings=group.settings,
        runs=tuple(_point(run) for run in sampled),
        scores=method_scores(sampled, lambda run: dict(run.raw), level, set_sizes),
        scaled=method_scores(sampled, lambda run: dict(run.scaled), level, set_sizes, scaled=True) if scaled else {},
        curves=curves.curves(sampled, level),
        confusion=curves.confusion(sampled),
        subgroups=subgroups,
        robustness=modalities.degradation(runs, level),
        contributions=modalities.contributions(runs, level),
        learning=learning.learning(runs),
        cost=learning.cost(runs),
        tunings=group.tunings,
        at_recipe=group.at_recipe,
        family=family(group.model, row=group.row is not None, content=runs[0].settings.model.get("blueprint")),
        gaps=gaps(sampled, subgroups, of_property, rules.primary, level),
    )


def _point(sampled: Sampled) -> RunPoint:
    judged, run = sampled.judged, sampled.judged.run
    return RunPoint(str(run.folder), run.seed, run.fold, len(run.test), judged.threshold, judged.temperature)


def _resolution(sampled: Sequence[Sampled], metric: str) -> float:
    """Twice the median standard error of a single run, from the test cases alone."""
    errors = [float(np.nanstd(drawn)) for run in sampled if np.isfinite(drawn := run.raw[metric].drawn).any()]
    return 2 * float(np.median(errors)) if errors else np.nan
