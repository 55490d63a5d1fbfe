"""Dataclasses from JSON or TOML that may be damaged: each value is checked against the annotation of its attribute."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, TypeVar, get_args, get_origin

from mmfusion.option_checks import alternatives, field_hints, shown, takes, value_faults

T = TypeVar("T")


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
    attributes = [entry for entry in fields(kind) if entry.init]  # type: ignore[arg-type]  # a dataclass
    needed = [entry.name for entry in attributes if entry.default is MISSING and entry.default_factory is MISSING]
    values, hints = entries(packed, where, *needed), field_hints(kind)  # type: ignore[arg-type]  # a class is hashable
    if unknown := sorted(set(values) - set(hints)):
        raise ValueError(f"{where} has unknown keys {unknown}; valid: {', '.join(hints)}")
    faults: list[str] = []
    read = {name: _read(value, hints[name], f"{where}.{name}", faults) for name, value in values.items()}
    if faults:
        raise ValueError("; ".join(faults))
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
        raise ValueError(f"{where} expects an object, got {shown(packed)}")
    if absent := [name for name in names if name not in packed]:
        raise ValueError(f"{where} lacks {', '.join(map(repr, absent))}")
    return packed


def several(packed: object, where: str) -> list[Any]:
    """A JSON list, checked to be one.

    Raises:
        ValueError: If it is none.
    """
    if not isinstance(packed, list | tuple):
        raise ValueError(f"{where} expects a list, got {shown(packed)}")
    return list(packed)


def text(packed: object, where: str) -> str:
    """A JSON string, checked to be one.

    Raises:
        ValueError: If it is none.
    """
    if not isinstance(packed, str):
        raise ValueError(f"{where} expects a text, got {shown(packed)}")
    return packed


def _read(value: Any, hint: Any, where: str, faults: list[str]) -> Any:
    """A value as its annotation wants it, with tuples for lists and dataclasses for objects; adds what is wrong."""
    for member in alternatives(hint):
        kind = get_args(member)[0] if get_origin(member) is Annotated else member
        origin, arguments = get_origin(kind), get_args(kind)
        if is_dataclass(kind) and isinstance(kind, type) and not takes(value, hint):
            value = unpack(kind, value, where)
        elif origin is tuple and isinstance(value, list | tuple):
            kinds = arguments[:1] * len(value) if ... in arguments else arguments
            if len(kinds) != len(value):
                faults.append(f"{where} expects {len(kinds)} values, got {shown(value)}")
                return value
            value = tuple(_read(entry, kinds[i], f"{where}[{i}]", faults) for i, entry in enumerate(value))
        elif isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, Mapping):
            value = {key: _read(entry, arguments[1], f"{where}.{key}", faults) for key, entry in value.items()}
    # Of a list the entry that is wrong is of use.
    if not any(fault.startswith(f"{where}[") for fault in faults):
        faults += value_faults(where, value, hint)
    return value
