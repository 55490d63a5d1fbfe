"""The program: its commands, and how it ends."""

import argparse
from collections.abc import Sequence

from mmfusion import __version__
from mmfusion.cli import (
    check,
    compact,
    evaluate,
    explain,
    export,
    names,
    option_names,
    predict,
    report,
    run,
    share,
    show,
)
from mmfusion.experiments import argument_names, console

GROUPS = {
    "Train and compare models": (run, report),
    "Use or pass on a finished run": (predict, evaluate, explain, export, share, compact),
    "Look something up": (names, show, check),
}
"""The commands by what a user wants to do."""


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
        the user can fix; 130 after Ctrl-C.
    """
    with argument_names.by_flags():
        return console.guarded(
            lambda: arguments.command(arguments), lambda text: option_names.translate(text, arguments)
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mmfusion",
        usage="mmfusion COMMAND ... | --version",
        description=_overview(),
        epilog="mmfusion COMMAND --help lists the options of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__, help="print the version and stop")
    commands = parser.add_subparsers(prog="mmfusion", required=True, metavar="COMMAND", help=argparse.SUPPRESS)
    for group in GROUPS.values():
        for command in group:
            command.add(commands)
    return parser


def _overview() -> str:
    """The commands, grouped by what a user wants to do."""
    lines = ["Fusion of images and tabular data."]
    for title, commands in GROUPS.items():
        lines += ["", f"{title}:", *(f"  {command.NAME:<9}{command.SUMMARY}" for command in commands)]
    return "\n".join(lines)
