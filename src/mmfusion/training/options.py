"""Options of a builder as settings give them, held against what the builder says that it takes."""

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmfusion.registry import keyword_options


def typed_options(section: str, builder: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The options with ``none`` turned into None where the builder takes it.

    Types alone are looked at: which numbers and which words are good, the builder says itself. What a builder leaves
    without an annotation, or annotates with a name that cannot be looked up, may be anything.

    Args:
        section: Of the settings, for messages.
        builder: With keyword-only options.
        values: By option; all of them options of the builder.

    Returns:
        As many options.

    Raises:
        ValueError: If a value is of another type; names the option, what was expected and what came.
    """
    hints = _hints(builder)
    parameters = keyword_options(builder)
    typed: dict[str, Any] = {}
    for key, value in values.items():
        hint = hints.get(key, Any)
        if isinstance(value, str) and value == "none" and _takes_none(hint, parameters[key].default):
            value = None
        # A default of None counts also where the annotation forgets it.
        if not _takes(value, hint) and not (value is None and parameters[key].default is None):
            raise ValueError(f"{section}.{key} expects {_said(hint)}, got {value!r}")
        typed[key] = value
    return typed


def _hints(builder: Callable[..., Any]) -> dict[str, Any]:
    try:
        parameters = inspect.signature(builder, eval_str=True).parameters
    # An annotation that is kept as text may have names that only type checkers import.
    except (AttributeError, NameError, SyntaxError, TypeError):
        parameters = inspect.signature(builder).parameters
    hints = {name: parameter.annotation for name, parameter in parameters.items()}
    return {name: hint for name, hint in hints.items() if hint is not inspect.Parameter.empty and type(hint) is not str}


def _alternatives(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(one for part in typing.get_args(hint) for one in _alternatives(part))
    return (hint,)


def _takes_none(hint: Any, default: Any) -> bool:
    """Whether ``none`` is None to the builder, not a word of its own such as that of an encoder's weights."""
    alternatives = _alternatives(hint)
    if any(typing.get_origin(one) is typing.Literal and "none" in typing.get_args(one) for one in alternatives):
        return False
    return default is None or type(None) in alternatives


def _takes(value: Any, hint: Any) -> bool:
    return any(_is(value, one) for one in _alternatives(hint))


def _is(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is None or hint is type(None):
        return value is None
    if origin is typing.Literal:
        return type(value) in {type(one) for one in arguments}
    kind = origin or hint
    if kind in (int, float):
        return isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)
    if kind in (bool, str):
        return isinstance(value, kind)
    if _is_kind(kind, Path):
        return isinstance(value, str | Path)
    if _is_kind(kind, Sequence):
        # TOML has lists alone, and a word is no list of letters.
        parts = [one for one in arguments if one is not ...]
        return isinstance(value, list | tuple) and all(
            not parts or any(_takes(item, part) for part in parts) for item in value
        )
    if _is_kind(kind, Mapping):
        return isinstance(value, Mapping) and (
            len(arguments) < 2 or all(_takes(item, arguments[1]) for item in value.values())
        )
    return True  # a type of the builder's own, which may be made of anything


def _is_kind(kind: Any, base: type) -> bool:
    return isinstance(kind, type) and issubclass(kind, base)


def _said(hint: Any) -> str:
    said = []
    for one in _alternatives(hint):
        origin, arguments = typing.get_origin(one), typing.get_args(one)
        kind = origin or one
        if one is None or one is type(None):
            said.append("none")
        elif origin is typing.Literal:
            said.append(f"one of {', '.join(map(str, arguments))}")
        elif kind is not str and _is_kind(kind, Sequence):
            parts = [part for part in arguments if part is not ...]
            said.append(f"a list of {' or '.join(dict.fromkeys(map(_said, parts)))}" if parts else "a list")
        elif _is_kind(kind, Mapping):
            said.append("a table of options")
        elif _is_kind(kind, Path):
            said.append("str")
        else:
            said.append(getattr(kind, "__name__", str(kind)))
    return " or ".join(dict.fromkeys(said))
