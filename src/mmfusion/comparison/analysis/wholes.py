"""The whole method that each ablation of a table is an ablation of."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmfusion import registry
from mmfusion.comparison.analysis.methods import Group, alike
from mmfusion.experiments.settings import merge, plain


def wholes(groups: Sequence[Group]) -> dict[str, str]:
    """Labels of the wholes by those of the ablations, and of the tuned methods by those at their recipes.

    An ablation whose whole is not among the groups is left out.
    """
    out = {}
    for group in groups:
        if group.at_recipe:
            tuned = [other for other in groups if other.tunings and alike(other, group)]
            out[group.label] = max(tuned, key=lambda other: other.tunings[0].n_trials).label
        if group.ablation is None or group.at_recipe:
            continue
        ablations: Mapping[str, Mapping[str, Any]] = registry.ablations.create(group.model)
        changes, n_trials = plain(ablations[group.ablation]), _budget(group)
        for whole in groups:
            if (
                whole.model == group.model
                and whole.ablation is None
                and whole.row is None
                and _budget(whole) == n_trials
            ):
                model = plain(merge(plain(whole.settings["model"]), changes))
                if {**plain(whole.settings), "model": model} == plain(group.settings):
                    out[group.label] = whole.label
                    break
    return out


def _budget(group: Group) -> int | None:
    return group.tunings[0].n_trials if group.tunings else None
