"""The program: its commands, and how it ends."""

import argparse
from collections.abc import Sequence

from mmfusion import __version__
from mmfusion.cli import check, compact, names, predict, report, run, share, show
from mmfusion.experiments import console


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command and its arguments.

    Args:
        argv: Without the program's name; None: those of the process.
    """
    return _parser().parse_args(argv)


def call(arguments: argparse.Namespace) -> int:
    """Run a command.

    Args:
        arguments: From :func:`parsed`.

    Returns:
        The exit code: 0; 1 for faults that ``check`` found, and for rows that ``predict`` has no label for; 2 for what
        the user can mend; 130 after Ctrl-C.
    """
    return console.guarded(lambda: arguments.command(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mmfusion", description="Fusion of images and tabular data.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")
    for command in (run, report, predict, share, compact, show, names, check):
        command.add(commands)
    return parser
