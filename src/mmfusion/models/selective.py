"""Which modalities of a dataset a model uses."""

from collections.abc import Collection, Sequence
from typing import Protocol, runtime_checkable

from torch import nn

from mmfusion.spec import DataSpec


@runtime_checkable
class Selective(Protocol):
    """A model that uses some of the modalities."""

    names: Sequence[str]
    """The modalities that it uses."""


def modalities_of(model: nn.Module, spec: DataSpec) -> tuple[str, ...]:
    """Modalities of a dataset that a model uses, in the dataset's order; all for a model that does not say."""
    used: Collection[str] = model.names if isinstance(model, Selective) else spec.names
    return tuple(name for name in spec.names if name in used)
