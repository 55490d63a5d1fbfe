"""What the engine uses of a model beyond its forward; a model of a plug-in may have some of it or none."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from mmfusion.models.phases import Phase
from mmfusion.spec import DataSpec
from mmfusion.tokens import Inputs, Maps, Present, Table


@runtime_checkable
class Selective(Protocol):
    """A model that uses some of the modalities."""

    names: Sequence[str]
    """The modalities that it uses."""


@runtime_checkable
class Phased(Protocol):
    """A model that says how it is trained."""

    def phases(self) -> Iterable[Phase]:
        """The phases of its training, in order."""


class Images(Protocol):
    """Image encoders."""

    images: Mapping[str, Any]
    """The images that they encode, by name."""


@runtime_checkable
class Encoding(Protocol):
    """A model whose images can be encoded alone."""

    encoders: Images
    """Its image encoders."""

    def encode(self, inputs: Inputs, present: Present | None = None) -> dict[str, Maps]:
        """The maps of images."""


@runtime_checkable
class Checking(Protocol):
    """A model or a loss that checks the values of a step."""

    def check(self, *arguments: Any) -> None:
        """Raise a ValueError for values that are impossible."""


@runtime_checkable
class RowLearner(Protocol):
    """A part that may learn from the rows of a table before training."""

    needs_rows: bool
    """Whether it does."""

    def fit(self, table: Table, labels: Tensor | None) -> None:
        """Learn from the rows."""


def modalities_of(model: nn.Module, spec: DataSpec) -> tuple[str, ...]:
    """Modalities of a dataset that a model uses, in the dataset's order; all for a model that does not say."""
    used: Collection[str] = model.names if isinstance(model, Selective) else spec.names
    return tuple(name for name in spec.names if name in used)
