"""A sampler by its name in the settings."""

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
"""The samplers' names, and what each can be told beside the batch size."""


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
    """The batches of a training part.

    Args:
        name: One of :data:`OPTIONS`.
        dataset: The cases; its labels or its groups are asked for where they decide.
        target: Whose labels.
        batch_size: Cases in a batch.
        seed: With the epoch, it determines the batches.
        processes: How many take a batch each at a step.
        options: The sampler's own.

    Returns:
        A batch sampler with ``set_epoch``.

    Raises:
        ValueError: If the name or an option is unknown, or the sampler refuses the cases.
    """
    own = dict(options or {})
    if name not in OPTIONS:
        raise ValueError(f"no sampler {name!r}; there are: {', '.join(OPTIONS)}")
    if unknown := sorted(set(own) - set(OPTIONS[name])):
        takes = ", ".join(OPTIONS[name]) or "none"
        raise ValueError(f"the sampler {name!r} has no option {', '.join(map(repr, unknown))}; it takes: {takes}")
    check_options(f"the sampler {name!r}", SAMPLERS[name].__init__, own)
    if name == "balanced":
        return ClassBalancedBatches(dataset.labels(target), batch_size=batch_size, seed=seed, **own)
    if name == "weighted":
        kind = dataset.spec.targets[target]
        n_classes = kind.n if isinstance(kind, Classes) else None
        return WeightedBatches(dataset.labels(target), batch_size=batch_size, seed=seed, n_classes=n_classes, **own)
    if name == "grouped":
        return GroupedBatches(dataset.groups, batch_size=batch_size, processes=processes, seed=seed)
    return ShuffledBatches(len(dataset), batch_size=batch_size, seed=seed)
