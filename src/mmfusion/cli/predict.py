"""``mmfusion predict``: predictions for new cases."""

import argparse
from pathlib import Path

from mmfusion.cli import flags, interrupt, option_names

NAME = "predict"
SUMMARY = "Predict the classes of new cases with a finished run, or several"


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    predict = commands.add_parser(NAME, description=SUMMARY)
    predict.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="folder of a finished run; of several the mean predicts"
    )
    predict.add_argument("--table", type=Path, required=True, help="table of new cases, one row per case")
    predict.add_argument("--root", type=Path, help="folder of the images that the table names")
    predict.add_argument("--out", type=Path, required=True, help="CSV file to write")
    flags.add_plugin(predict)
    predict.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    predict.add_argument(
        "--missing-images",
        default="error",
        choices=("error", "absent"),
        help="what a missing image file or image column means (default: %(default)s)",
    )
    predict.add_argument(
        "--formulas",
        action="store_true",
        help="do not put an apostrophe before texts that a spreadsheet program would take for formulas (those that "
        "begin with =, +, - or @)",
    )
    predict.set_defaults(command=_predict)


def _predict(arguments: argparse.Namespace) -> int:
    with interrupt.at_once():
        from mmfusion.data.schema.table_file import read_table
        from mmfusion.experiments import ensemble, spreadsheet
        from mmfusion.training import result_files

        flags.import_ahead()
    if arguments.out.exists():
        raise FileExistsError(f"{arguments.out} exists already: choose another file with --out")
    if not arguments.table.is_file():
        raise FileNotFoundError(f"no table {arguments.table}")
    loaded = ensemble.load(arguments.runs, device=arguments.device, plugins=arguments.plugins)
    # As text: the reader knows each column's type.
    frame = read_table(arguments.table)
    reporter = option_names.reporter(arguments)
    result = loaded.predict(
        frame,
        arguments.root,
        missing_images=arguments.missing_images,
        say=lambda text: reporter.say(text[0].upper() + text[1:]),
    )
    result_files.write_text(arguments.out, spreadsheet.to_csv(result, formulas=arguments.formulas))
    for name in loaded.absent(frame, arguments.missing_images):
        reporter.say(f"All cases lack {name}: the table has none of its columns")
    if isinstance(loaded, ensemble.Ensemble):
        reporter.say(f"The mean of {len(loaded.members)} runs. {loaded.about}")
    reporter.say(f"{len(result)} cases are in {arguments.out}")
    return 1 if result["label"].isna().any() else 0
