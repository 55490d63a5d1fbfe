"""Flags that commands share, and the settings that they stand for."""

import argparse
import importlib
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmfusion.experiments.argument_names import SHORT

if TYPE_CHECKING:
    from mmfusion.experiments.settings import Settings

SWEEPS = ("preset", "trials", "seeds", "repeats", "folds", "ablate", "jobs", "processes", "launcher", "references")
"""Flags that ask for several runs."""


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


def add_new_cases(parser: argparse.ArgumentParser) -> None:
    """Add what a command on new cases takes: the runs, the table and its images."""
    parser.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="folder of a finished run; of several the mean predicts"
    )
    parser.add_argument("--table", type=Path, required=True, help="table of new cases, one row per case")
    add_reading(parser)


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add how a command with a run reads a table's images, and writes tables."""
    parser.add_argument(
        "--root", type=Path, dest="image_root", help="folder of the images that the table names (default: the table's)"
    )
    parser.add_argument(
        "--missing-images",
        default="error",
        choices=("error", "absent"),
        help="what a missing image file or image column means (default: %(default)s)",
    )
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument(
        "--formulas",
        action="store_true",
        help="do not put an apostrophe before texts in CSV files that a spreadsheet program would take for formulas "
        "(those that begin with =, +, - or @)",
    )
    add_plugin(parser)


def add_training_cases(parser: argparse.ArgumentParser) -> None:
    """Add where the run's own cases are."""
    parser.add_argument(
        "--training-root", type=Path, metavar="DIR", help="where the run's own dataset is now, if it was moved"
    )
    parser.add_argument("--no-training", action="store_true", help="do not read the run's own training cases")


def add_own_table(group: "argparse._ArgumentGroup") -> None:
    """Add the flags of a table of one's own."""
    group.add_argument("--table", metavar="FILE", help=".csv, .tsv, .parquet or .xlsx file, one row per case")
    group.add_argument("--label", metavar="COLUMN", help="column of the class")
    group.add_argument(
        "--images", nargs="+", metavar="COLUMN", help="columns of image files (photographs, DICOM, NIfTI)"
    )
    group.add_argument("--group", metavar="COLUMN", help="column of the patient or lesion; a split keeps it together")
    group.add_argument("--test", metavar="COLUMN", help="column that marks the test set (default: a random split)")
    group.add_argument(
        "--window", nargs=2, type=float, metavar="N", help="center and width of the values that are shown"
    )
    group.add_argument("--size", nargs="+", type=int, metavar="N", help="pixels: side, or height width, or with slices")


def import_ahead() -> None:
    """Import what is slow to import and needed by every run; a missing package is reported where it is needed."""
    for name in ("mmfusion.models", "mmfusion.data", "accelerate", "rich.console"):
        with suppress(ImportError):
            importlib.import_module(name)


def import_timm(resolved: "Settings") -> None:
    """Import timm, which takes seconds, if the run's encoder is one of its models."""
    from mmfusion import registry

    encoder = resolved.model.get("encoder")
    if isinstance(encoder, str) and encoder not in registry.backbones:
        with suppress(ImportError):
            importlib.import_module("timm")


def import_plugins(arguments: argparse.Namespace) -> None:
    """Run the plug-ins of the command line, which register components."""
    from mmfusion.experiments import trust

    trust.run_given(arguments.plugins or ())


def dataset(arguments: argparse.Namespace) -> str:
    """The value of ``--dataset``, or the default."""
    from mmfusion.experiments import settings

    dataset_name: str | None = arguments.dataset
    if dataset_name is not None:
        if not dataset_name.strip(" ,"):
            raise ValueError(f"--dataset expects a name, got {dataset_name!r}; see mmfusion list datasets")
        return dataset_name
    return settings.DEFAULT_DATASET if arguments.table is None else "table"


def datasets(arguments: argparse.Namespace) -> list[str]:
    """Registered names of the datasets."""
    from mmfusion import registry

    return [registry.datasets.canonical(name.strip()) for name in dataset(arguments).split(",") if name.strip()]


def layers(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Settings from the command line, the later over the earlier."""
    from mmfusion.experiments import settings

    flags: dict[str, Any] = {}
    if arguments.plugins:
        flags = {"run": {"plugins": [str(path) for path in arguments.plugins]}}
    for flag, (section, key) in SHORT.items():
        value = getattr(arguments, flag, None)
        if flag == "size" and value is not None and len(value) == 1:
            value = value[0]
        if flag == "table" and value is not None:
            # A resumed run may be started from another working folder.
            value = os.path.abspath(value)
        if value is not None:
            flags = settings.merge(flags, {section: {key: value}})
    # A flag wins over --set.
    return [*(settings.parse_override(text) for text in arguments.overrides), flags]
