"""Flags of ``run``, and what they say about the settings."""

import argparse
import importlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

FLAGS = {
    "root": ("run", "root"),
    "seed": ("run", "seed"),
    "device": ("run", "device"),
    "precision": ("run", "precision"),
    "out": ("run", "out"),
    "epochs": ("train", "epochs"),
    "batch_size": ("train", "batch_size"),
    "modality_dropout": ("train", "modality_dropout"),
    "task": ("data", "task"),
    "table": ("data", "table"),
    "label": ("data", "label"),
    "images": ("data", "images"),
    "group": ("data", "group"),
    "test": ("data", "test"),
    "size": ("data", "size"),
    "encoder": ("model", "encoder"),
    "weights": ("model", "weights"),
}
"""Those that are short for --set."""

SWEEPS = ("preset", "seeds", "folds", "ablate", "jobs", "processes", "launcher")
"""Those that make a command one of several runs."""


def add_plugin(parser: "argparse.ArgumentParser | argparse._ArgumentGroup") -> None:
    """Add ``--plugin FILE``."""
    parser.add_argument(
        "--plugin",
        action="append",
        type=Path,
        metavar="FILE",
        dest="plugins",
        help="Python file that registers models or components; may be repeated",
    )


def import_ahead() -> None:
    """What takes long to import and a run needs in any case; what is not installed is told by whoever needs it."""
    for name in ("mmfusion.models", "mmfusion.data", "timm", "accelerate", "rich.console"):
        with suppress(ImportError):
            importlib.import_module(name)


def import_plugins(arguments: argparse.Namespace) -> None:
    """Have their parts registered."""
    from mmfusion.experiments import trust

    trust.run_given(arguments.plugins or ())


def dataset(arguments: argparse.Namespace) -> str:
    """The dataset that is asked for, or the default."""
    from mmfusion.experiments import settings

    asked: str | None = arguments.dataset
    if asked is not None:
        if not asked.strip(" ,"):
            raise ValueError(f"--dataset expects a name, got {asked!r}; see --list-datasets")
        return asked
    return settings.DEFAULT_DATASET if arguments.table is None else "table"


def datasets(arguments: argparse.Namespace) -> list[str]:
    """Those that are asked for, or the default alone."""
    return [name.strip() for name in dataset(arguments).split(",") if name.strip()]


def layers(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """What the flags say about the settings, each layer over the one before."""
    from mmfusion.experiments import settings

    flags: dict[str, Any] = {}
    if arguments.plugins:
        flags = {"run": {"plugins": [str(path) for path in arguments.plugins]}}
    for flag, (section, key) in FLAGS.items():
        value = getattr(arguments, flag)
        if flag == "size" and value is not None and len(value) == 1:
            value = value[0]
        if flag == "table" and value is not None:
            # A resumed run may be started from another working folder.
            value = os.path.abspath(value)
        if value is not None:
            flags = settings.merge(flags, {section: {key: value}})
    # A flag says it more plainly than --set, so it has the last word.
    return [*(settings.parse_override(text) for text in arguments.overrides), flags]
