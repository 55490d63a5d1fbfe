"""``mmfusion compact``: small copies of finished runs."""

import argparse
from pathlib import Path

from mmfusion.cli import interrupt, option_names

NAME = "compact"
SUMMARY = "Copy what a report needs of finished runs into a few small files"


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    compacting = commands.add_parser(NAME, description=SUMMARY)
    compacting.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="runs, or folders with runs below")
    compacting.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the copies")
    compacting.add_argument(
        "--subgroups",
        action="store_true",
        help="keep each case's sex, age band and other subgroups (default: leave them out)",
    )
    compacting.set_defaults(command=_compact)


def _compact(arguments: argparse.Namespace) -> None:
    with interrupt.at_once():
        from mmfusion.comparison.compact import compact
    summary = compact(arguments.folders, arguments.out, subgroups=arguments.subgroups)
    reporter = option_names.reporter(arguments)
    for run in summary.skipped:
        reporter.say(f"Skipped {run.folder}: {run.reason}")
    n = len(summary.folders)
    reporter.say(f"{n} run{'s' * (n != 1)}, {summary.size / 1e6:.1f} MB, in {arguments.out}")
