"""``mmfusion export``: a run's model for use without mmfusion, or for a hub."""

import argparse
from pathlib import Path

from mmfusion.cli import flags, interrupt, option_names

NAME = "export"
SUMMARY = "Write a run's model for onnxruntime, torch.export or a hub"


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    exporting = commands.add_parser(NAME, description=SUMMARY)
    exporting.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    exporting.add_argument(
        "--format",
        default="onnx",
        choices=("onnx", "torch", "hub"),
        help="onnx: with its preprocessing and a script that predicts without mmfusion and torch; torch: a program of "
        "torch.export; hub: what mmfusion.load and mmfusion.from_pretrained read (default: %(default)s)",
    )
    exporting.add_argument(
        "--out", type=Path, metavar="FOLDER", help="the new folder (default: the run's with the format appended)"
    )
    exporting.add_argument("--data-license", default="", metavar="TEXT", help="license of the data, for the model card")
    flags.add_plugin(exporting)
    exporting.set_defaults(command=_export)


def _export(arguments: argparse.Namespace) -> None:
    with interrupt.at_once():
        from mmfusion.api.trained_run import load

        flags.import_ahead()
    run = load(arguments.run, "cpu", plugins=arguments.plugins)
    files = run.export(arguments.out, format=arguments.format, license_of_data=arguments.data_license)
    size = sum(path.stat().st_size for path in files)
    out = next(path.parent for path in files if path.name == "README.md")
    option_names.reporter(arguments).say(f"{len(files)} files, {size / 1e6:.1f} MB, in {out}; see its README.md")
