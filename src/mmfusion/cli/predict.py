"""``mmfusion predict``: predictions for new cases."""

import argparse
from pathlib import Path

from mmfusion.cli import flags, interrupt, option_names

NAME = "predict"
SUMMARY = "Predict the classes of new cases with a finished run, or several"


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    predict = commands.add_parser(NAME, description=SUMMARY)
    flags.add_new_cases(predict)
    predict.add_argument("--out", type=Path, required=True, help="CSV file to write")
    predict.add_argument(
        "--coverage",
        type=float,
        default=0.9,
        metavar="SHARE",
        help="of the sets of a run with calibration cases (default: %(default)s)",
    )
    predict.set_defaults(command=_predict)


def _predict(arguments: argparse.Namespace) -> int:
    with interrupt.at_once():
        from mmfusion.api.predicting import RunEnsemble

        flags.import_ahead()
    run = RunEnsemble(arguments.runs, arguments.device, arguments.plugins)
    reporter = option_names.reporter(arguments)
    result = run.predict(
        arguments.table,
        arguments.image_root,
        arguments.missing_images,
        coverage=arguments.coverage,
        out=arguments.out,
        formulas=arguments.formulas,
        say=lambda text: reporter.say(text[0].upper() + text[1:]),
    )
    if len(arguments.runs) > 1:
        reporter.say(f"The mean of {len(arguments.runs)} runs. {run.about}")
    reporter.say(f"{len(result)} cases are in {arguments.out}")
    return 1 if result["label"].isna().any() else 0
