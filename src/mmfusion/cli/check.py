"""``mmfusion check``: completeness of a dataset's folder."""

import argparse
from pathlib import Path
from typing import Any

from mmfusion.cli import flags, interrupt, option_names

NAME = "check"
SUMMARY = "Check that a dataset's folder is complete and undamaged"


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    checking = commands.add_parser(NAME, description=SUMMARY)
    checking.add_argument("name", metavar="NAME", help="a dataset of files; see list datasets")
    checking.add_argument("--root", type=Path, help="folder of the dataset")
    checking.add_argument("--full", action="store_true", help="decode every image completely, not only its header")
    checking.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="options",
        help="an option of the dataset, as in task=diagnosis; may be repeated",
    )
    flags.add_plugin(checking)
    checking.set_defaults(command=_check)


def _check(arguments: argparse.Namespace) -> int:
    with interrupt.at_once():
        from mmfusion.data.datasets import check
        from mmfusion.experiments import settings
    flags.import_plugins(arguments)
    options: dict[str, Any] = {}
    for text in arguments.options:
        options |= settings.parse_override(text if text.startswith("data.") else f"data.{text}")["data"]
    report = check.check(arguments.name, arguments.root, full=arguments.full, **options)
    print(option_names.translate(str(report), arguments))
    return 1 if report.faults else 0
