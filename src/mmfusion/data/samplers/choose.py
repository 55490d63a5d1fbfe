"""Batch sampler by its name in the settings."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from mmfusion.data.cases import CaseDataset
from mmfusion.data.samplers.balanced import ClassBalancedBatches
from mmfusion.data.samplers.grouped import GroupedBatches
from mmfusion.data.samplers.shuffled import ShuffledBatches
from mmfusion.data.samplers.weighted import WeightedBatches
from mmfusion.option_checks import check_options
from mmfusion.spec import Classes

Batches: TypeAlias = ShuffledBatches | ClassBalancedBatches | WeightedBatches | GroupedBatches

SAMPLERS: Mapping[str, type[Batches]] = {
    "shuffled": ShuffledBatches,
    "balanced": ClassBalancedBatches,
    "weighted": WeightedBatches,
    "grouped": GroupedBatches,
}
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "shuffled": (),
    "balanced": ("epoch",),
    "weighted": ("power", "weights"),
    "grouped": (),
}
"""The samplers' names and their options beside the batch size."""


def choose_batches(
    name: str,
    dataset: CaseDataset,
    target: str,
    *,
    batch_size: int,
    seed: int,
    processes: int = 1,
    options: Mapping[str, Any] | None = None,
) -> Batches:
    """The batch sampler of a training set.

    Args:
        name: One of :data:`OPTIONS`.
        dataset: The training set; labels or groups are read if the sampler needs them.
        target: The target whose labels are used.
        batch_size: Cases per batch.
        seed: Determines the batches, together with the epoch.
        processes: Number of processes that take one batch each per step.
        options: Options of the sampler.

    Returns:
        A batch sampler with ``set_epoch``.

    Raises:
        ValueError: If the name or an option is unknown, or the sampler does not accept the cases.
    """
    given = dict(options or {})
    if name not in OPTIONS:
        raise ValueError(f"unknown sampler {name!r}; valid: {', '.join(OPTIONS)}")
    if unknown := sorted(set(given) - set(OPTIONS[name])):
        valid = ", ".join(OPTIONS[name]) or "none"
        raise ValueError(f"the sampler {name!r} has no option {', '.join(map(repr, unknown))}; valid: {valid}")
    check_options(f"the sampler {name!r}", SAMPLERS[name].__init__, given)
    if name == "balanced":
        return ClassBalancedBatches(dataset.labels(target), batch_size=batch_size, seed=seed, **given)
    if name == "weighted":
        spec = dataset.spec.targets[target]
        n_classes = spec.n if isinstance(spec, Classes) else None
        return WeightedBatches(dataset.labels(target), batch_size=batch_size, seed=seed, n_classes=n_classes, **given)
    if name == "grouped":
        return GroupedBatches(dataset.groups, batch_size=batch_size, processes=processes, seed=seed)
    return ShuffledBatches(len(dataset), batch_size=batch_size, seed=seed)
