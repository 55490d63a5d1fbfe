"""Options of a builder as settings give them: plain values of TOML and the command line."""

from collections.abc import Callable, Mapping
from typing import Any

from mmfusion.option_checks import keyword_options, option_hints, takes_none, value_faults


def typed_options(section: str, builder: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The options with ``none`` turned into None where the builder takes it.

    Args:
        section: Of the settings, for messages.
        builder: With keyword-only options.
        values: By option; all of them options of the builder.

    Returns:
        As many options.

    Raises:
        ValueError: If values are of another type or out of range; names each option, what was expected and what came.
    """
    hints, parameters = option_hints(builder), keyword_options(builder)
    typed: dict[str, Any] = {}
    faults: list[str] = []
    for key, value in values.items():
        hint, default = hints.get(key, Any), parameters[key].default
        if isinstance(value, str) and value == "none" and takes_none(hint, default):
            value = None
        # A default of None counts also where the annotation forgets it.
        if not (value is None and default is None):
            faults += value_faults(f"{section}.{key}", value, hint)
        typed[key] = value
    if faults:
        raise ValueError("; ".join(faults))
    return typed
