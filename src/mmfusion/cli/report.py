"""``mmfusion report``: comparison of finished runs."""

import argparse
from pathlib import Path

from mmfusion.cli import interrupt, option_names

NAME = "report"
SUMMARY = "Compare finished runs: a page, tables and figures"


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    report = commands.add_parser(NAME, description=SUMMARY)
    report.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="runs, or folders with runs below")
    report.add_argument(
        "--reference",
        metavar="METHOD",
        help="model that the others are compared with (default: concat)",
    )
    report.add_argument(
        "--metrics",
        default="all",
        metavar="NAMES",
        help="metrics to show and test, with commas between, or a set: derm7pt, men (default: %(default)s)",
    )
    report.add_argument(
        "--margin",
        type=float,
        metavar="DIFFERENCE",
        help="difference of the first metric within which methods count as equal, named before the results are seen"
        " (default: 0.01)",
    )
    report.add_argument("--out", type=Path, metavar="DIR", help="folder of the report (default: FOLDER/report)")
    report.add_argument(
        "--formulas",
        action="store_true",
        help="do not put an apostrophe before texts in CSV files that a spreadsheet program would take for formulas"
        " (those that begin with =, +, - or @)",
    )
    report.set_defaults(command=_report)


def _report(arguments: argparse.Namespace) -> None:
    with interrupt.at_once():
        from mmfusion.comparison.report import command
    command.report(
        arguments.folders,
        verbose=option_names.reporter(arguments),
        reference=arguments.reference,
        metrics=arguments.metrics,
        out=arguments.out,
        formulas=arguments.formulas,
        margin=arguments.margin,
    )
