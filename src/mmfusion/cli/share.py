"""``mmfusion share``: a run's folder for other people."""

import argparse
from pathlib import Path

from mmfusion.cli import interrupt, option_names

NAME = "share"
SUMMARY = "Write a folder that predicts and holds as little else of a run as possible"


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    sharing = commands.add_parser(NAME, description=SUMMARY)
    sharing.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    sharing.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the new folder")
    sharing.set_defaults(command=_share)


def _share(arguments: argparse.Namespace) -> None:
    with interrupt.at_once():
        from mmfusion.experiments.sharing import share

    written = share(arguments.run, arguments.out)
    size = sum(path.stat().st_size for path in written)
    reporter = option_names.reporter(arguments)
    reporter.say(f"{', '.join(path.name for path in written)}, {size / 1e6:.1f} MB, in {arguments.out}")
    reporter.say("See the guide, under Sharing a model, for what these files reveal about the training cases")
