"""What the engine uses of a model beyond its forward; a model of a plug-in may have some of it or none."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from mmfusion.tokens import Inputs, Maps, Present, Table


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
