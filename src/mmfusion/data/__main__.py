"""``mmfusion-data check NAME --root DIR``, and ``python -m mmfusion.data check ...``."""

import argparse
import sys
from collections.abc import Sequence

from mmfusion.data.check import add_arguments, from_arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: Arguments without the program's name; None: those of the process.

    Returns:
        The exit code: 0; 1 for faults in the data; 2 for what was asked wrongly; 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog="mmfusion-data", description="What mmfusion's datasets are made of.")
    commands = parser.add_subparsers(required=True, metavar="command")
    add_arguments(commands.add_parser("check", help="whether a dataset's folder is complete and whole"))
    try:
        report = from_arguments(parser.parse_args(argv))
    except (ValueError, OSError, ImportError) as error:
        print(f"mmfusion-data: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("mmfusion-data: interrupted", file=sys.stderr)
        return 130
    print(report)
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
