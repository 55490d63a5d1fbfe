"""``mmfusion check``."""

import argparse
from pathlib import Path

from mmfusion.cli import interrupt


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The subcommand."""
    checking = commands.add_parser("check", help="whether a dataset's folder is complete and whole")
    checking.add_argument("name", metavar="NAME", help="a dataset that reads files; see list datasets")
    checking.add_argument("--root", type=Path, help="folder of the dataset")
    checking.add_argument("--full", action="store_true", help="decode every image, not its header alone")
    checking.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="options",
        help="an option of the dataset, as in task=diagnosis; may be repeated",
    )
    checking.set_defaults(command=_check)


def _check(arguments: argparse.Namespace) -> int:
    with interrupt.at_once():
        from mmfusion.data import check
    report = check.from_arguments(arguments)
    print(report)
    return 1 if report.faults else 0
