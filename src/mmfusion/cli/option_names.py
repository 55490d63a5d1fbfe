"""Names of settings and Python arguments in an error text, as flags of the command line."""

import argparse
import ast
import functools
import json
import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from mmfusion.experiments import console
from mmfusion.experiments.argument_names import SHORT

_VALUE = r"""(?:=(?P<value>'[^']*'|"[^"]*"|\[[^\]]*\]|\{(?:[^{}]|\{[^{}]*\})*\}|\.\.\.|[\w+-]+(?:\.[\w+-]+)*))?"""
_DOTTED = re.compile(
    rf"(?<![\w./-])(?<!--set )(?<!--set ')(?P<section>run|train|data|model)\.(?P<key>\w+)(?P<inner>(?:\.\w+)*){_VALUE}"
)
# A model's name with its options, `concat[weights=some, width=4]`, is one name, and "a run expects" is prose.
_ARGUMENT = re.compile(
    r"(?P<named>[\w.*-]+\[(?:[^\[\]]|\[[^\]]*\])*\])|"
    rf"(?<![\w./-])(?<!\ba )(?<!\bthe )(?P<key>[a-z]\w*)(?:(?= expects\b)|(?==){_VALUE})"
)
_OF_THE_RUN = ("root", "cache", "progress")
"""Options of datasets that are not set by ``--set data.NAME``."""
_CONSTANTS = {"True": "true", "False": "false", "None": "none"}
_FLAGS = {
    "plugins": "plugin",
    "models": "model",
    "launcher_options": "cluster",
    "image_root": "root",
    "aliases": "alias",
    "target_class": "class",
    "map_method": "map",
    "n_orders": "orders",
    "n_cohort": "cohort",
    "n_faithfulness": "faithfulness",
}
"""Flags whose names are not those of their arguments."""


def translate(text: str, arguments: argparse.Namespace) -> str:
    """An error text with the flags that its reader can type.

    ``data.label`` becomes ``--label``, ``data.unlabelled`` becomes ``--set data.unlabelled``, and so do the Python
    arguments ``label='y'`` and ``unlabelled='drop'`` of the command's dataset, and ``overwrite=True`` or ``out=...`` of
    the command.

    Args:
        text: The message, which names settings as ``section.key`` or arguments as ``name=value``.
        arguments: Of the command.

    Returns:
        The message; names that are neither settings nor arguments stay as they are.
    """

    @functools.cache
    def keys(section: str) -> set[str]:
        return set(dict(_settings(arguments)).get(section, ()))

    def of_setting(match: re.Match[str]) -> str:
        section, key, inner, value = match["section"], match["key"], match["inner"], match["value"]
        return _flag(section, key + inner, value, arguments) if key in keys(section) else match[0]

    def of_argument(match: re.Match[str]) -> str:
        key, value = match["key"], match["value"]
        if match["named"]:
            return match[0]
        known = hasattr(arguments, key) or hasattr(arguments, _FLAGS.get(key, key))
        if key != "overrides" and known:  # those of a dataset; where --set has its values, too
            return _typed(_FLAGS.get(key, key), None if value == "True" else value)
        if section := next((section for section in ("data", "model") if key in keys(section)), ""):
            return _flag(section, key, value, arguments)
        return match[0]

    return _DOTTED.sub(of_setting, _ARGUMENT.sub(of_argument, text))


def reporter(arguments: argparse.Namespace) -> Any:
    """A reporter that writes to standard output, with the flags of the command."""
    return console.reporter(lambda text: translate(text, arguments))


def _settings(arguments: argparse.Namespace) -> Iterator[tuple[str, list[str]]]:
    """Sections that the command's ``--set`` takes, with their keys."""
    if not hasattr(arguments, "overrides"):
        return
    from dataclasses import fields

    from mmfusion import registry
    from mmfusion.experiments.settings import DEFAULT_DATASET, RunSettings
    from mmfusion.training.settings import Train

    yield "run", [field.name for field in fields(RunSettings)]
    yield "train", [field.name for field in fields(Train)]
    table = "table" if getattr(arguments, "table", None) else DEFAULT_DATASET
    datasets = getattr(arguments, "dataset", None) or table
    for section, registered, names in (
        ("data", registry.datasets, datasets),
        ("model", registry.models, getattr(arguments, "model", None) or ""),
    ):
        options: list[str] = []
        for name in names.split(","):
            # An unknown name is what the error is about.
            with suppress(ValueError, ImportError, OSError):
                options += registered.options(name.strip())
        yield section, [option for option in options if option not in _OF_THE_RUN]


def _flag(section: str, key: str, value: str | None, arguments: argparse.Namespace) -> str:
    for flag, setting in SHORT.items():
        if setting == (section, key) and hasattr(arguments, flag):
            return _typed(flag, value)
    if value is not None and value.startswith(("{", "['")):
        # An option by column, as in overrides={'pressure': 'ratio'}; a name may have the dots that separate keys.
        return "--set " + shlex.quote(f"{section}.{key}={_toml(ast.literal_eval(value))}")
    return f"--set {section}.{key}" + ("" if value is None else f"={_plain(value)}")


def _toml(value: Any) -> str:
    """A Python literal as TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {_toml(entry)}" for name, entry in value.items()) + "}"
    return json.dumps(value)


def _typed(flag: str, value: str | None) -> str:
    """A flag with its value as it is typed."""
    name = f"--{flag.replace('_', '-')}"
    if value in (None, "..."):
        return name
    if value.startswith("{"):  # a flag of pairs
        return " ".join(f"{name} " + shlex.quote(f"{key}={one}") for key, one in ast.literal_eval(value).items())
    values = [_plain(each) for each in (value[1:-1].split(", ") if value.startswith("[") else [value])]
    # A flag that may be repeated takes one value each time.
    return f"{name} " + f" {name} ".join(values) if flag == "plugin" else f"{name} {' '.join(values)}"


def _plain(value: str) -> str:
    """A Python literal as it is typed on the command line."""
    text = _CONSTANTS.get(value, value[1:-1] if value[0] in "'\"" else value)
    return shlex.quote(text) if " " in text else text
