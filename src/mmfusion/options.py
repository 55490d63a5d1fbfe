"""Options of builders: their types and ranges, declared in annotations and checked here.

A builder says what it takes where it says its types, and :func:`option_faults` reads it there::

    def mine(spec: DataSpec, *, dim: Width = 128, dropout: Annotated[float, Range(0, 1)] = 0.1) -> FusionModel: ...

A plain ``float`` is finite, and a plain ``int`` fits into 64 bits. The upper bounds are far beyond what is of use and
below what exhausts a machine: a slip of the keyboard is to be an error, not a computer that stands still.
"""

import difflib
import functools
import inspect
import math
import numbers
import os
import reprlib
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeAlias, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


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
Interval: TypeAlias = Annotated[Sequence[float], Length(2)]
"""A smallest and a largest value."""
Fold: TypeAlias = Annotated[int, Range(0, 10**6)]
"""Index of a fold."""
Folds: TypeAlias = Annotated[int, Range(2, 1000)]
"""Folds of a cross-validation."""
Fractions: TypeAlias = Annotated[Sequence[Share], Length(3)]
"""Shares of training, validation and test set."""
Name: TypeAlias = Annotated[str, Nonempty()]
"""A name of a part, a column or a file."""


def keyword_options(builder: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a builder, by name."""
    parameters = inspect.signature(builder).parameters.values()
    return {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def check_options(what: str, builder: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raise an error about options that the builder does not take, or not with these values.

    Args:
        what: The part, for the message: ``"model 'concat'"``.
        builder: With keyword-only options.
        options: By name.

    Raises:
        ValueError: Naming the unknown option, the closest one and all valid ones; or each option whose value is of
            another type or out of range, with what was expected and what came.
    """
    check_names(what, builder, options)
    if faults := option_faults(builder, options):
        raise ValueError(f"{what}: {'; '.join(faults)}")


def checked(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """A decorator for a constructor or a function that is called directly and not by a registered name.

    Its keyword arguments are checked as :func:`check_options` does, and so are those before them that declare a range;
    the signature stays.
    """
    declared = option_hints(function)
    parameters = inspect.signature(function).parameters
    ranged = {
        name
        for name, hint in declared.items()
        if any(typing.get_origin(member) is Annotated for member in alternatives(hint))
    }

    @functools.wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        what = type(args[0]).__name__ if function.__name__ == "__init__" else function.__name__
        positional = {name: value for name, value in zip(parameters, args, strict=False) if name in ranged}
        faults = [
            fault
            for name, value in {**positional, **kwargs}.items()
            if name in declared and not (value is None and parameters[name].default is None)
            for fault in value_faults(name, value, declared[name])
        ]
        if faults:
            raise ValueError(f"{what}: {'; '.join(faults)}")
        return function(*args, **kwargs)

    return call


def check_names(what: str, builder: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """The first half of :func:`check_options`.

    Raises:
        ValueError: Naming the unknown option, the closest one and all valid ones.
    """
    valid = keyword_options(builder)
    for name in options:
        if name not in valid:
            close = difflib.get_close_matches(name, valid, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else "."
            raise ValueError(f"{what} has no option {name!r}{hint} Valid: {', '.join(sorted(valid)) or 'none'}")


def option_faults(builder: Callable[..., Any], options: Mapping[str, Any]) -> list[str]:
    """What is wrong with the options of a builder.

    What a builder leaves without an annotation, or annotates with a name that cannot be looked up, may be anything.

    Args:
        builder: With keyword-only options.
        options: By name; all of them options of the builder.

    Returns:
        One line for each fault: the option, what was expected and what came.
    """
    hints, parameters = option_hints(builder), keyword_options(builder)
    faults = []
    for name, value in options.items():
        # A default of None counts also where the annotation forgets it.
        if value is None and parameters[name].default is None:
            continue
        faults += value_faults(name, value, hints.get(name, Any))
    return faults


def option_hints(builder: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a builder's parameters; without those that cannot be looked up."""
    try:
        parameters = inspect.signature(builder, eval_str=True).parameters
    # An annotation that is kept as text may have names that only type checkers import.
    except (AttributeError, NameError, SyntaxError, TypeError):
        parameters = inspect.signature(builder).parameters
    hints = {name: parameter.annotation for name, parameter in parameters.items()}
    return {name: hint for name, hint in hints.items() if hint is not inspect.Parameter.empty and type(hint) is not str}


def value_faults(name: str, value: Any, hint: Any) -> list[str]:
    """What is wrong with one value.

    Args:
        name: Of the option, for the message.
        value: Anything.
        hint: Its annotation.

    Returns:
        Nothing, or one line: the option, what was expected and what came.
    """
    if takes(value, hint):
        return []
    for member in alternatives(hint):
        items = typing.get_args(member)
        # Of a table of options the entry is named.
        if isinstance(value, Mapping) and _is_kind(typing.get_origin(member), Mapping) and len(items) == 2:
            return [fault for key, item in value.items() for fault in value_faults(f"{name}.{key}", item, items[1])]
    return [f"{name} expects {described(hint)}, got {shown(value)}"]


def shown(value: Any) -> str:
    """A value for a message, cut where it is long."""
    return _shown.repr(value)


def takes(value: Any, hint: Any) -> bool:
    """Whether a value is of a type and in its range."""
    return any(_is(value, member) for member in alternatives(hint))


def takes_none(hint: Any, default: Any) -> bool:
    """Whether the word ``none`` is None to a builder, not a word of its own such as that of an encoder's weights."""
    choices = alternatives(hint)
    if any(typing.get_origin(member) is typing.Literal and "none" in typing.get_args(member) for member in choices):
        return False
    return default is None or type(None) in choices


def alternatives(hint: Any) -> tuple[Any, ...]:
    """The members of a union; of anything else itself."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(member for part in typing.get_args(hint) for member in alternatives(part))
    return (hint,)


def _is(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is None or hint is type(None):
        return value is None
    if origin is Annotated:
        kind, *rules = arguments
        return takes(value, kind) and all(rule.holds(value) for rule in rules if isinstance(rule, _RULES))
    if origin is typing.Literal:
        return any(type(value) is type(member) and value == member for member in arguments)
    kind = origin or hint
    if kind is bool:
        return isinstance(value, bool)
    if kind is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool) and abs(int(value)) < 2**63
    if kind is float:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and _is_finite(value)
    if kind is str:
        return isinstance(value, str)
    if _is_kind(kind, Path):
        return isinstance(value, str | os.PathLike)
    if kind is Callable or _is_kind(kind, Callable):  # type: ignore[arg-type]
        return callable(value)
    if _is_kind(kind, Mapping):
        return isinstance(value, Mapping) and (
            len(arguments) < 2 or all(takes(item, arguments[1]) for item in value.values())
        )
    if _is_kind(kind, Collection):
        return _is_list(value, kind, arguments)
    # A type of a plug-in's own may be made of anything.
    if isinstance(kind, type) and kind.__module__.partition(".")[0] in ("mmfusion", "torch"):
        return isinstance(value, kind)
    return True


def _is_list(value: Any, kind: type, arguments: tuple[Any, ...]) -> bool:
    """TOML has lists alone, and a word is no list of letters."""
    wanted = Sequence if issubclass(kind, Sequence) else Collection
    if not isinstance(value, wanted) or isinstance(value, str | bytes | Mapping):
        return False
    parts = [member for member in arguments if member is not ...]
    if issubclass(kind, tuple) and parts and ... not in arguments:
        return len(value) == len(parts) and all(takes(item, part) for item, part in zip(value, parts, strict=True))
    return not parts or all(any(takes(item, part) for part in parts) for item in value)


def _is_finite(value: numbers.Real) -> bool:
    try:
        return abs(float(value)) < 3.4e38  # of float32
    except OverflowError:
        return False


def _is_kind(kind: Any, base: type) -> bool:
    return isinstance(kind, type) and issubclass(kind, base)


def described(hint: Any) -> str:
    """An annotation in words."""
    return " or ".join(dict.fromkeys(_described(member) for member in alternatives(hint)))


def _described(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is None or hint is type(None):
        return "none"
    if origin is Annotated:
        kind, *rules = arguments
        words = described(kind)
        for rule in rules:
            if isinstance(rule, OneOf):
                words = f"one {rule}"
            elif isinstance(rule, Length):
                words = f"{rule.low}{f' to {rule.high}' if rule.high is not None else ''} values, {words}"
            elif isinstance(rule, _RULES):
                words = f"{words} {rule}"
        return words
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, arguments))}"
    kind = origin or hint
    if _is_kind(kind, Path):
        return "str"
    if _is_kind(kind, Mapping):
        return "a table of options"
    if kind is not str and _is_kind(kind, Collection):
        parts = [part for part in arguments if part is not ...]
        return f"a list of {' or '.join(dict.fromkeys(map(described, parts)))}" if parts else "a list"
    return getattr(kind, "__name__", str(kind))


_RULES = (Range, OneOf, Length, Nonempty, Modalities)
_shown = reprlib.Repr()
_shown.maxstring = _shown.maxother = _shown.maxlong = 80
