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
    predict.add_argument("--root", type=Path, help="folder of the images that the table names (default: the table's)")
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
        "--coverage",
        type=float,
        default=0.9,
        metavar="SHARE",
        help="of the sets of a run with calibration cases (default: %(default)s)",
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
        from mmfusion.experiments import spreadsheet
        from mmfusion.experiments.predicting import RunEnsemble, cases_of
        from mmfusion.training import result_files

        flags.import_ahead()
    if arguments.out.exists():
        raise FileExistsError(f"{arguments.out} exists already: choose another file with --out")
    frame, root = cases_of(arguments.table, arguments.root)
    run = RunEnsemble(arguments.runs, arguments.device, arguments.plugins)
    reporter = option_names.reporter(arguments)
    result = run.predict(
        frame,
        root,
        arguments.missing_images,
        coverage=arguments.coverage,
        say=lambda text: reporter.say(text[0].upper() + text[1:]),
    )
    result_files.write_text(arguments.out, spreadsheet.to_csv(result, formulas=arguments.formulas))
    for name in run.absent(frame, arguments.missing_images):
        reporter.say(f"All cases lack {name}: the table has none of its columns")
    if len(arguments.runs) > 1:
        reporter.say(f"The mean of {len(arguments.runs)} runs. {run.about}")
    reporter.say(f"{len(result)} cases are in {arguments.out}")
    return 1 if result["label"].isna().any() else 0
