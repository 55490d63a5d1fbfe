"""Search ranges of options that are tuned, declared in annotations next to their types.

A method declares at most two of its options tunable, where it declares what they take::

    def mine(spec: DataSpec, *, n_latents: Annotated[Count, Among(32, 64, 128)] = 64) -> Blueprint: ...
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, get_args, get_origin

from mmfusion.option_checks import alternatives, keyword_options, option_hints

_DIGITS = 3


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


def declared(builder: Callable[..., Any]) -> dict[str, SearchRange]:
    """The tunable options of a builder, in the order of its signature.

    Args:
        builder: With keyword-only options.
    """
    hints = option_hints(builder)
    ranges = {name: _range_of(hints[name]) for name in keyword_options(builder) if name in hints}
    return {name: found for name, found in ranges.items() if found is not None}


def _range_of(hint: Any) -> SearchRange | None:
    for member in (hint, *alternatives(hint)):
        if get_origin(member) is Annotated:
            for rule in get_args(member)[1:]:
                if isinstance(rule, SearchRange):
                    return rule
    return None


def _rounded(value: float, low: float, high: float) -> float:
    return min(max(float(f"{value:.{_DIGITS}g}"), low), high)
