"""The command line: ``mmfusion run | report | predict | evaluate | export | share | compact | show | list | check``.

One file per command. What a command works with is imported when it is called: the help is there at once.
"""

from __future__ import annotations

try:
    from mmfusion.cli import interrupt
except KeyboardInterrupt:  # with a cold disk even this takes a moment
    import sys

    sys.stderr.write("mmfusion: interrupted; nothing was written yet\n")
    sys.exit(130)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["entry", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: Arguments without the program's name; None: those of the process.

    Returns:
        The exit code: 0; 1 for faults that ``check`` found; 2 for what the user can fix; 130 after Ctrl-C.
    """
    try:
        with interrupt.at_once():
            from mmfusion.cli import program

            arguments = program.parsed(argv)
    except KeyboardInterrupt:  # in the moments between two handlers
        return interrupt.say()
    try:
        return program.call(arguments)
    except KeyboardInterrupt:
        return interrupt.say("interrupted")


def entry(argv: Sequence[str] | None = None) -> int:
    """The program ``mmfusion``: :func:`main`, after which the process ends."""
    try:
        return interrupt.done(main(argv))
    except KeyboardInterrupt:
        return interrupt.CODE
