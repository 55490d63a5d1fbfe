"""Checks of options against the types and ranges that builders declare; see :mod:`mmfusion.options`."""

import dataclasses
import difflib
import functools
import inspect
import numbers
import os
import reprlib
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

from mmfusion.options import Ascending, Length, Modalities, Nonempty, OneOf, Range, SearchRange

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


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
        if any(typing.get_origin(member) in (Annotated, typing.Literal) for member in alternatives(hint))
    }

    @functools.wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        what = type(args[0]).__name__ if function.__name__ == "__init__" else function.__name__
        given = {name: value for name, value in zip(parameters, args, strict=False) if name in ranged} | kwargs
        if faults := _faults({name: given[name] for name in given if name in declared}, declared, parameters):
            raise ValueError(f"{what}: {'; '.join(faults)}")
        return function(*args, **kwargs)

    return call


def check_fields(instance: Any, what: str = "") -> None:
    """Check the attributes of a dataclass against their annotations; for its ``__post_init__``.

    Lists become tuples where the annotation is a tuple.

    Args:
        instance: The dataclass.
        what: The thing, for the message; empty: the name of the class.

    Raises:
        ValueError: Naming each attribute whose value is of another type or out of range, with what was expected.
    """
    faults = []
    for name, hint in field_hints(type(instance)).items():  # type: ignore[arg-type]  # a class is hashable
        value = getattr(instance, name)
        if isinstance(value, list) and any(_is_tuple(member) for member in alternatives(hint)):
            object.__setattr__(instance, name, tuple(value))
        faults += value_faults(name, value, hint)
    if faults:
        raise ValueError(f"{what or type(instance).__name__}: {'; '.join(faults)}")


def _is_tuple(hint: Any) -> bool:
    kind = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
    return typing.get_origin(kind) is tuple


@functools.cache
def field_hints(kind: type) -> dict[str, Any]:
    """The annotations of a dataclass's attributes, of those that its constructor takes."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.init}


def check_names(what: str, builder: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """The first half of :func:`check_options`.

    Raises:
        ValueError: Naming the unknown option, the closest one and all valid ones.
    """
    valid = keyword_options(builder)
    for name in options:
        if name not in valid:
            raise ValueError(unknown_option(what, name, valid))


def unknown_option(what: str, name: str, valid: Collection[str]) -> str:
    """What is wrong with an unknown option: the closest one and all valid ones."""
    close = difflib.get_close_matches(name, valid, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    return f"{what} has no option {name!r}{hint} Valid: {', '.join(sorted(valid)) or 'none'}"


def suggestion(name: str, names: Collection[str]) -> str:
    """For an unknown name: those that are close to it, or all that there are."""
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(map(repr, close))}?" if close else f"there are: {', '.join(names)}"


def option_faults(builder: Callable[..., Any], options: Mapping[str, Any]) -> list[str]:
    """What is wrong with the options of a builder.

    What a builder leaves without an annotation, or annotates with a name that cannot be looked up, may be anything.

    Args:
        builder: With keyword-only options.
        options: By name; all of them options of the builder.

    Returns:
        One line for each fault: the option, what was expected and what came.
    """
    return _faults(options, option_hints(builder), keyword_options(builder))


def _faults(
    values: Mapping[str, Any], hints: Mapping[str, Any], parameters: Mapping[str, inspect.Parameter]
) -> list[str]:
    faults = []
    for name, value in values.items():
        # A default of None counts also where the annotation forgets it.
        if value is not None or parameters[name].default is not None:
            faults += value_faults(name, value, hints.get(name, Any))
    return faults


def option_hints(builder: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a builder's parameters; without those that cannot be looked up."""
    hints = {name: parameter.annotation for name, parameter in evaluated_signature(builder).parameters.items()}
    return {name: hint for name, hint in hints.items() if hint is not inspect.Parameter.empty and type(hint) is not str}


def search_ranges(builder: Callable[..., Any]) -> dict[str, SearchRange]:
    """The tunable options of a builder, in the order of its signature.

    Args:
        builder: With keyword-only options.
    """
    hints = option_hints(builder)
    ranges = {name: marks(hints.get(name), SearchRange) for name in keyword_options(builder)}
    return {name: of_name[0] for name, of_name in ranges.items() if of_name}


def marks(hint: Any, kind: Any) -> list[Any]:
    """Marks of a class, or one of several, in an option's annotation."""
    metadata = (mark for member in alternatives(hint) for mark in getattr(member, "__metadata__", ()))
    return [mark for mark in metadata if isinstance(mark, kind)]


def evaluated_signature(builder: Callable[..., Any]) -> inspect.Signature:
    """A builder's signature, with annotations that are kept as text looked up where all of them can be."""
    try:
        return inspect.signature(builder, eval_str=True)
    # They may have names that only type checkers import.
    except (AttributeError, NameError, SyntaxError, TypeError):
        return inspect.signature(builder)


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
    if kind is Callable or _is_kind(kind, Callable):  # type: ignore[arg-type]  # abstract for mypy
        return callable(value)
    if _is_kind(kind, Mapping):
        return isinstance(value, Mapping) and (
            len(arguments) < 2 or all(takes(item, arguments[1]) for item in value.values())
        )
    if _is_made_here(kind):
        return isinstance(value, kind)
    # A type of a plug-in's own may be made of anything.
    return _is_list(value, kind, arguments) if _is_kind(kind, Collection) else True


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
        return abs(float(value)) <= _LARGEST
    except OverflowError:
        return False


def _is_kind(kind: Any, base: type) -> bool:
    return isinstance(kind, type) and issubclass(kind, base)


def _is_made_here(kind: Any) -> bool:
    """A tensor, a module or a type of this package, whatever it is beside that."""
    return isinstance(kind, type) and kind.__module__.partition(".")[0] in ("mmfusion", "torch")


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
    if kind is not str and _is_kind(kind, Collection) and not _is_made_here(kind):
        parts = [part for part in arguments if part is not ...]
        return f"a list of {' or '.join(dict.fromkeys(map(described, parts)))}" if parts else "a list"
    return str(getattr(kind, "EXPECTED", "") or getattr(kind, "__name__", kind))


class _Shown(reprlib.Repr):
    def repr_DataFrame(self, frame: Any, level: int) -> str:  # called by the name of the type
        return f"a DataFrame of {len(frame)} rows"


_RULES = (Range, OneOf, Ascending, Length, Nonempty, Modalities)
_LARGEST = (2 - 2**-23) * 2.0**127  # of float32
_shown = _Shown()
_shown.maxstring = _shown.maxother = _shown.maxlong = 80
