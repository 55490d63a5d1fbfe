"""The whole method that each ablation of a table is an ablation of."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmfusion import registry
from mmfusion.comparison.analysis.methods import Group
from mmfusion.experiments.settings import merge, plain


def wholes(groups: Sequence[Group]) -> dict[str, str]:
    """Labels of the wholes by those of the ablations; an ablation whose whole is not among the groups is left out."""
    out = {}
    for group in groups:
        if group.ablation is None:
            continue
        ablations: Mapping[str, Mapping[str, Any]] = registry.ablations.create(group.model)
        changes = plain(ablations[group.ablation])
        for whole in groups:
            if whole.model == group.model and whole.ablation is None and whole.row is None:
                model = plain(merge(plain(whole.settings["model"]), changes))
                if {**plain(whole.settings), "model": model} == plain(group.settings):
                    out[group.label] = whole.label
                    break
    return out
