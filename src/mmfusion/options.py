"""Options of builders: their types and ranges, declared in annotations.

A builder says what it takes where it says its types, and :func:`~mmfusion.option_checks.option_faults` reads it there::

    def mine(spec: DataSpec, *, dim: Width = 128, dropout: Annotated[float, Range(0, 1)] = 0.1) -> FusionModel: ...

A method declares at most two of its options tunable, by a search range next to the type::

    def mine(spec: DataSpec, *, n_latents: Annotated[Count, Among(32, 64, 128)] = 64) -> Blueprint: ...

A plain ``float`` is finite, and a plain ``int`` fits into 64 bits. The upper bounds are far beyond what is of use and
below what exhausts a machine: a slip of the keyboard is to be an error, not a computer that stands still.
"""

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias


@dataclass(frozen=True)
class Range:
    """The numbers that an option takes.

    Attributes:
        low: The least.
        high: The greatest; None: there is none, but the number is finite.
        above: Whether ``low`` itself is excluded.
        below: Whether ``high`` itself is excluded.
    """

    low: float
    high: float | None = None
    above: bool = False
    below: bool = False

    def holds(self, value: float) -> bool:
        """Whether a number is in the range; NaN and infinity never are."""
        if not math.isfinite(value):
            return False
        if value < self.low or (self.above and value == self.low):
            return False
        return self.high is None or value < self.high or (value == self.high and not self.below)

    def __str__(self) -> str:
        if self.high is None:
            return f"{'above' if self.above else 'of at least'} {_number(self.low)}"
        return f"{'above' if self.above else 'from'} {_number(self.low)} to {'below ' * self.below}{_number(self.high)}"


def _number(value: float) -> str:
    """In full where it is whole, for no one counts the zeros of 1e+06."""
    return f"{int(value)}" if value == int(value) else f"{value:g}"


@dataclass(frozen=True)
class OneOf:
    """The words that an option takes."""

    words: tuple[str, ...]

    def holds(self, value: object) -> bool:
        """Whether a value is one of the words."""
        return value in self.words

    def __str__(self) -> str:
        return f"of {', '.join(self.words)}"


@dataclass(frozen=True)
class Length:
    """How many entries a list has.

    Attributes:
        low: The fewest.
        high: The most; None: as many as ``low``.
    """

    low: int
    high: int | None = None

    def holds(self, value: Collection[object]) -> bool:
        """Whether a list has as many."""
        return self.low <= len(value) <= (self.low if self.high is None else self.high)

    def __str__(self) -> str:
        return f"of {self.low}" if self.high is None else f"of {self.low} to {self.high}"


class Ascending:
    """A list whose entries ascend."""

    def holds(self, value: Sequence[float]) -> bool:
        """Whether each entry is below the next."""
        return all(low < high for low, high in itertools.pairwise(value))

    def __str__(self) -> str:
        return "in ascending order"


class Nonempty:
    """A text that is not empty."""

    def holds(self, value: object) -> bool:
        """Whether it has a letter."""
        return not isinstance(value, str) or bool(value.strip())

    def __str__(self) -> str:
        return "that is not empty"


class Modalities:
    """Names of modalities; where a blueprint is built, ``"images"``, ``"tables"`` and ``"*"`` are those of a kind."""

    def holds(self, value: object) -> bool:
        """Whether each is a text."""
        return all(isinstance(name, str) for name in value) if isinstance(value, Sequence) else True

    def __str__(self) -> str:
        return "of modalities"


_DIGITS = 3
"""Significant digits of a number that is tried."""


@dataclass(frozen=True)
class LogUniform:
    """Numbers that are tried evenly on the logarithmic scale.

    Attributes:
        low: The least, above 0.
        high: The greatest.

    Raises:
        ValueError: If not ``0 < low < high``.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise ValueError(f"LogUniform expects 0 < low < high, got {self.low} and {self.high}")

    def at(self, share: float) -> float:
        """The number at a share of the range, from 0 to 1, with three significant digits."""
        return _rounded(self.low * (self.high / self.low) ** share, self.low, self.high)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}, logarithmic"


@dataclass(frozen=True)
class Uniform:
    """Numbers that are tried evenly.

    Attributes:
        low: The least.
        high: The greatest.

    Raises:
        ValueError: If not ``low < high``.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"Uniform expects low < high, got {self.low} and {self.high}")

    def at(self, share: float) -> float:
        """The number at a share of the range, from 0 to 1, with three significant digits."""
        return _rounded(self.low + (self.high - self.low) * share, self.low, self.high)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


class Among:
    """Values that are tried equally often.

    Args:
        values: At least two, numbers in ascending order.

    Raises:
        ValueError: If there are fewer.
    """

    def __init__(self, *values: Any) -> None:
        if len(values) < 2:
            raise ValueError(f"Among expects at least two values, got {len(values)}")
        self.values = values

    def at(self, share: float) -> Any:
        """The value at a share of the list, from 0 to 1."""
        return self.values[min(int(share * len(self.values)), len(self.values) - 1)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Among) and self.values == other.values

    def __hash__(self) -> int:
        return hash(self.values)

    def __str__(self) -> str:
        *first, last = (str(value).lower() if isinstance(value, bool) else str(value) for value in self.values)
        return f"{', '.join(first)} or {last}"


SearchRange: TypeAlias = LogUniform | Uniform | Among
"""How the values of an option are tried."""


def _rounded(value: float, low: float, high: float) -> float:
    return min(max(float(f"{value:.{_DIGITS}g}"), low), high)


@dataclass(frozen=True)
class PartOf:
    """A part inside another: its name, or a mapping with name and options.

    Attributes:
        registry: Where its name is looked up: ``"compressions"``, an attribute of :mod:`mmfusion.registry`.
    """

    registry: str


TabularTokenizerChoice: TypeAlias = Annotated[str | Mapping[str, Any], PartOf("tabular_tokenizers")]
"""A tabular tokenizer inside another part."""
CompressionChoice: TypeAlias = Annotated[str | Mapping[str, Any], PartOf("compressions")]
"""A token compression inside another part."""
ModalityNames: TypeAlias = Annotated[Sequence[str], Modalities()]
"""Names of modalities, or ``images``, ``tables`` or ``*``."""
Width: TypeAlias = Annotated[int, Range(1, 16384)]
"""Features of a layer."""
TotalWidth: TypeAlias = Annotated[int, Range(1, 2**24)]
"""Features of several vectors together."""
Depth: TypeAlias = Annotated[int, Range(1, 128)]
"""Layers in sequence."""
DepthOrNone: TypeAlias = Annotated[int, Range(0, 128)]
"""Layers in sequence, where 0 leaves them out."""
Widths: TypeAlias = Annotated[Sequence[Width], Length(0, 32)]
"""Features of layers in sequence; may be none."""
Heads: TypeAlias = Annotated[int, Range(1, 1024)]
"""Attention heads."""
Stages: TypeAlias = Annotated[int, Range(1, 64)]
"""Stages of an encoder."""
Count: TypeAlias = Annotated[int, Range(1, 4096)]
"""Tokens, latents, bins, trees: what a model has several of."""
Dropout: TypeAlias = Annotated[float, Range(0, 1, below=True)]
"""Probability with which a feature is dropped in training."""
Probability: TypeAlias = Annotated[float, Range(0, 1)]
"""Any probability or share."""
Expansion: TypeAlias = Annotated[float, Range(0.01, 64)]
"""Hidden width of a feed-forward layer as a multiple of its input's."""
Reduction: TypeAlias = Annotated[float, Range(1, 16384)]
"""Input width of a bottleneck as a multiple of its hidden width."""
LossWeight: TypeAlias = Annotated[float, Range(0, 1e6)]
"""Weight of a loss."""
Positive: TypeAlias = Annotated[float, Range(0, 1e6, above=True)]
"""A positive factor."""
NotNegative: TypeAlias = Annotated[float, Range(0, 1e6)]
"""A factor that may be 0."""
Finite: TypeAlias = Annotated[float, Range(-1e6, 1e6)]
"""A factor of either sign."""
TemperatureValue: TypeAlias = Annotated[float, Range(1e-4, 1e4)]
"""What a similarity is divided by."""
Seed: TypeAlias = Annotated[int, Range(0, 2**32 - 1)]
"""Seed of a random generator; numpy's take 32 bits."""
Pixels: TypeAlias = Annotated[int, Range(1, 8192)]
"""Pixels or voxels along an axis."""
Cases: TypeAlias = Annotated[int, Range(1, 10**7)]
"""Cases of a dataset."""
PartSize: TypeAlias = Annotated[int, Range(2, 10**6)]
"""Cases of a part of a dataset that is made up."""
Share: TypeAlias = Annotated[float, Range(0, 1, above=True, below=True)]
"""A share that is neither nothing nor all."""
Axes: TypeAlias = Annotated[Sequence[Pixels], Length(2, 3)]
"""Pixels or voxels along each axis."""
Channels: TypeAlias = Annotated[int, Range(1, 4096)]
"""Channels of an image."""
PerAxis: TypeAlias = Annotated[int, Range(1, 255)] | Annotated[Sequence[Annotated[int, Range(1, 255)]], Length(2, 3)]
"""Stride or width of a filter along each axis, or one for all."""
StageIndex: TypeAlias = Annotated[int, Range(-64, 63)]
"""A stage of an encoder; negative from the last."""
NClasses: TypeAlias = Annotated[int, Range(1, 10**6)]
"""Number of classes."""
Interval: TypeAlias = Annotated[Sequence[float], Length(2), Ascending()]
"""A smallest and a largest value."""
Span: TypeAlias = Annotated[tuple[float, float], Ascending()]
"""The same as an attribute."""
Fold: TypeAlias = Annotated[int, Range(0, 10**6)]
"""Index of a fold."""
Folds: TypeAlias = Annotated[int, Range(2, 1000)]
"""Folds of a cross-validation."""
Fractions: TypeAlias = Annotated[Sequence[Share], Length(3)]
"""Shares of training, validation and test set."""
Name: TypeAlias = Annotated[str, Nonempty()]
"""A name of a part, a column or a file."""
