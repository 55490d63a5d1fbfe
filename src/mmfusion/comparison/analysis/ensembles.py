"""Ensembles of a method's seeds: the mean of the probabilities over the models of one split, from their predictions.

An ensemble is one predictor made of these trained models. Its interval is for other test cases only: it says nothing of
other training runs, so an ensemble has no verdict and no rank among methods.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mmfusion.comparison.analysis.judged import Judged, judge
from mmfusion.comparison.analysis.methods import Group
from mmfusion.comparison.analysis.resampling import Sampled, sample
from mmfusion.comparison.analysis.results import Ensemble
from mmfusion.comparison.analysis.scoring import method_scores
from mmfusion.comparison.finished_run import FinishedRun
from mmfusion.experiments import held_out_cases

N_RESAMPLES = 2000
"""Resamples for the intervals of ensembles, at most."""


def ensembles(
    groups: Sequence[Group],
    sampled: Mapping[str, Sequence[Sampled]],
    *,
    n_resamples: int,
    level: float,
    seed: int,
    extra: Sequence[str] = (),
    set_sizes: tuple[float, float] | None = None,
) -> tuple[Ensemble, ...]:
    """The ensemble of each method with two seeds or more on the same test cases.

    Args:
        groups: The methods of one table. Reference rows have none, as their seeds differ only in how they are tuned.
        sampled: By label, the runs of each.
        n_resamples: Of the bootstrap; at most :data:`N_RESAMPLES` are drawn.
        level: Coverage of the intervals.
        seed: Of the bootstrap.
        extra: Further metrics, as for :func:`~mmfusion.comparison.analysis.resampling.sample`.
        set_sizes: As for :func:`~mmfusion.comparison.analysis.scoring.mean_score`, for several test sets.

    Returns:
        In the order of the groups.
    """
    members: dict[str, list[list[Judged]]] = {}
    for group in groups:
        by_test_set: dict[str, list[Judged]] = {}
        for run in sampled[group.label] if group.row is None else ():
            by_test_set.setdefault(run.judged.test_set, []).append(run.judged)
        if several := [models for models in by_test_set.values() if len(models) > 1]:
            members[group.label] = several
    together = [judge(mean_run(models)) for sets in members.values() for models in sets]
    drawn = iter(sample(together, n_resamples=min(n_resamples, N_RESAMPLES), seed=seed, extra=extra))
    found = []
    for label, sets in members.items():
        own = [next(drawn) for _ in sets]
        singles = {id(judged) for models in sets for judged in models}
        runs = [run for run in sampled[label] if id(run.judged) in singles]
        scores = method_scores(own, lambda run: dict(run.raw), level, set_sizes)
        single = {name: float(np.mean([run.raw[name].value for run in runs])) for name in scores}
        found.append(Ensemble(label, tuple(len(models) for models in sets), scores, single))
    return tuple(found)


def mean_run(models: Sequence[Judged]) -> FinishedRun:
    """A run whose probabilities are the mean over several models, on the test set and the validation set.

    Without a common validation set its threshold and temperature are the means of theirs.
    """
    first = models[0].run
    validation = held_out_cases.mean([judged.run.validation for judged in models])
    known = {
        name: float(np.mean(values))
        for name in ("threshold", "temperature")
        if None not in (values := [getattr(judged, name) for judged in models])
    }
    test = held_out_cases.mean([judged.cases for judged in models])
    if test is None:
        raise ValueError("an ensemble needs models that were tested on the same cases")
    return replace(first, test=test, validation=validation, metrics={**first.metrics, **known}, subgroups=None)
