"""``mmfusion evaluate``: a finished run on another table, at its own threshold and temperature."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmfusion.cli import flags, interrupt, option_names

NAME = "evaluate"
SUMMARY = "Evaluate a finished run on another labelled table"


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    evaluate = commands.add_parser(NAME, description=SUMMARY)
    flags.add_new_cases(evaluate)
    evaluate.add_argument("--label", metavar="COLUMN", help="the table's column of labels, if it is called otherwise")
    evaluate.add_argument("--group", metavar="COLUMN", help="likewise that of patients or lesions")
    evaluate.add_argument(
        "--rename", action="append", default=[], metavar="THEIRS=OURS", help="a column of the table and the run's name"
    )
    evaluate.add_argument(
        "--alias",
        action="append",
        default=[],
        dest="aliases",
        metavar="LABEL=CLASS",
        help="a spelling of a class",
    )
    evaluate.add_argument(
        "--subgroups", nargs="+", default=[], metavar="COLUMN", help="columns for results per subgroup"
    )
    flags.add_training_cases(evaluate)
    evaluate.add_argument("--out", type=Path, metavar="DIR", help="new folder (default: RUN/external/TABLE)")
    evaluate.set_defaults(command=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> None:
    with interrupt.at_once():
        from mmfusion.api.predicting import RunEnsemble

        flags.import_ahead()
    RunEnsemble(arguments.runs, arguments.device, arguments.plugins).evaluate(
        arguments.table,
        target=arguments.label,
        group=arguments.group,
        image_root=arguments.image_root,
        missing_images=arguments.missing_images,
        rename=_pairs("rename", arguments.rename),
        aliases=_pairs("alias", arguments.aliases),
        subgroups=arguments.subgroups,
        training=not arguments.no_training,
        training_root=arguments.training_root,
        out=arguments.out,
        formulas=arguments.formulas,
        verbose=option_names.reporter(arguments),
    )


def _pairs(flag: str, texts: Sequence[str]) -> dict[str, str]:
    """``A=B`` as a key and its value; the last ``=`` divides them, as a heading may have one."""
    pairs = {}
    for text in texts:
        key, equals, value = text.rpartition("=")
        if not equals or not key.strip() or not value.strip():
            raise ValueError(f"--{flag} expects two names with = between, got {text!r}")
        if key.strip() in pairs:
            raise ValueError(f"--{flag} is given twice for {key.strip()!r}")
        pairs[key.strip()] = value.strip()
    return pairs
