"""``mmfusion-data``, as a program of its own."""

from collections.abc import Sequence

from mmfusion.cli import interrupt


def main(argv: Sequence[str] | None = None) -> int:
    """As :func:`mmfusion.data.__main__.main`."""
    try:
        with interrupt.at_once():
            from mmfusion.data import __main__ as program
        return interrupt.done(program.main(argv))
    except KeyboardInterrupt:  # in the moments between two handlers
        return interrupt.say("interrupted")
