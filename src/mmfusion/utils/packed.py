"""Dataclasses from JSON or TOML that may be damaged: each value is held against the annotation of its attribute."""

import functools
import reprlib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar

T = TypeVar("T")
_shown = reprlib.Repr()
_shown.maxstring = _shown.maxother = _shown.maxlong = 60


def unpack(kind: type[T], packed: object, where: str) -> T:
    """An instance of a dataclass from plain dictionaries and lists.

    Args:
        kind: The dataclass; attributes may be dataclasses, too.
        packed: Its attributes by name; those with a default may be left out.
        where: The key under which it is, for messages.

    Returns:
        The instance; lists become tuples where the annotation says so.

    Raises:
        ValueError: Naming the key, what was expected and what came.
    """
    values, hints = entries(packed, where), _hints(kind)  # type: ignore[arg-type]  # a class is hashable
    known = {entry.name: entry for entry in fields(kind) if entry.init}  # type: ignore[arg-type]  # a dataclass
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"{where} has unknown keys {unknown}; valid: {', '.join(known)}")
    needed = [name for name, entry in known.items() if entry.default is MISSING and entry.default_factory is MISSING]
    if absent := [name for name in needed if name not in values]:
        raise ValueError(f"{where} lacks {', '.join(map(repr, absent))}")
    read = {name: _read(value, hints[name], f"{where}.{name}") for name, value in values.items()}
    try:
        return kind(**read)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{where}: {error}") from error


def unpack_each(kind: type[T], packed: object, where: str) -> tuple[T, ...]:
    """Instances of a dataclass from a list; see :func:`unpack`."""
    return tuple(unpack(kind, entry, f"{where}[{i}]") for i, entry in enumerate(several(packed, where)))


def entries(packed: object, where: str, *names: str) -> Mapping[str, Any]:
    """A JSON object, checked to be one.

    Args:
        packed: Anything.
        where: The key under which it is, for messages.
        names: Keys that it must have.

    Raises:
        ValueError: If it is none, or lacks a key.
    """
    if not isinstance(packed, Mapping):
        raise ValueError(f"{where} expects an object, got {_shown.repr(packed)}")
    if absent := [name for name in names if name not in packed]:
        raise ValueError(f"{where} lacks {', '.join(map(repr, absent))}")
    return packed


def several(packed: object, where: str) -> list[Any]:
    """A JSON list, checked to be one.

    Raises:
        ValueError: If it is none.
    """
    if not isinstance(packed, list | tuple):
        raise ValueError(f"{where} expects a list, got {_shown.repr(packed)}")
    return list(packed)


def text(packed: object, where: str) -> str:
    """A JSON string, checked to be one.

    Raises:
        ValueError: If it is none.
    """
    if not isinstance(packed, str):
        raise ValueError(f"{where} expects a text, got {_shown.repr(packed)}")
    return packed


@functools.cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _read(value: Any, hint: Any, where: str) -> Any:
    """A value as its annotation wants it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _read_one_of(value, arguments, hint, where)
    if is_dataclass(hint) and isinstance(hint, type):
        return value if isinstance(value, hint) else unpack(hint, value, where)
    if origin is tuple and isinstance(value, list | tuple):
        kinds = arguments[:1] * len(value) if ... in arguments else arguments
        if len(kinds) != len(value):
            raise ValueError(f"{where} expects {len(kinds)} values, got {_shown.repr(value)}")
        return tuple(
            _read(entry, kind, f"{where}[{i}]") for i, (entry, kind) in enumerate(zip(value, kinds, strict=True))
        )
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, Mapping):
        return {key: _read(entry, arguments[1], f"{where}.{key}") for key, entry in value.items()}
    if not _is(value, hint, origin, arguments):
        raise ValueError(f"{where} expects {_described(hint)}, got {_shown.repr(value)}")
    return value


def _read_one_of(value: Any, kinds: tuple[Any, ...], hint: Any, where: str) -> Any:
    fault = None
    for kind in kinds:
        try:
            return _read(value, kind, where)
        except ValueError as error:
            # Of a list the entry that is wrong is of use.
            fault = error if str(error).startswith(f"{where}[") else fault
    raise fault or ValueError(f"{where} expects {_described(hint)}, got {_shown.repr(value)}")


def _is(value: Any, hint: Any, origin: Any, arguments: tuple[Any, ...]) -> bool:
    if hint is None or hint is type(None):
        return value is None
    if origin is typing.Literal:
        return any(type(value) is type(entry) and value == entry for entry in arguments)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    if hint is bool or hint is str:
        return isinstance(value, hint)
    return hint is Any


def _is_finite(value: float) -> bool:
    """Whether float32 holds a number; models compute in it."""
    return abs(value) <= (2 - 2**-23) * 2.0**127


def _described(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(_described, arguments)))
    if origin is typing.Literal:
        return " or ".join(map(repr, arguments))
    if origin is tuple:
        return "a list"
    words = {float: "a number", int: "a whole number", str: "a text", bool: "true or false", type(None): "null"}
    return words.get(hint, "an object")
