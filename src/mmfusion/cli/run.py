"""``mmfusion run``: one run, or several where the flags ask for them."""

import argparse
from pathlib import Path

from mmfusion.cli import flags, interrupt, option_names, sweep
from mmfusion.experiments.argument_names import SHORT

NAME = "run"
SUMMARY = "Train and evaluate one or several models"


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    run = commands.add_parser(
        NAME,
        description=SUMMARY,
        usage="mmfusion run --model MODEL [--dataset DATASET] [options]",
        # Short flags and their help share a line.
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=30),
    )
    _add_model_and_dataset(run.add_argument_group("model and dataset"))
    flags.add_own_table(run.add_argument_group("your own table (--label COLUMN is short for --set data.label=COLUMN)"))
    _add_training(run.add_argument_group("training"))
    _add_folder(run.add_argument_group("folder of the run"))
    sweep.add_flags(run)
    run.set_defaults(command=_run)


def _add_model_and_dataset(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--model", help="name, names with commas between, pattern, all, or a .toml file")
    group.add_argument("--dataset", help="name, or names with commas between (default: synthetic_derm7pt)")
    group.add_argument("--task", help="task, for a dataset that has several")
    group.add_argument("--root", metavar="DIR", help="folder of the dataset, or of the images that a table names")
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        dest="overrides",
        help="any setting of the section run, train, data or model; may be repeated",
    )
    flags.add_plugin(group)


def _add_training(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--seed", type=int, metavar="N", help="seed of all random numbers (default: 0)")
    group.add_argument("--epochs", type=int, metavar="N", help="number of epochs")
    group.add_argument("--batch-size", type=int, metavar="N", help="cases per batch")
    group.add_argument("--modality-dropout", type=float, metavar="P", help="probability of hiding a modality")
    group.add_argument("--encoder", metavar="NAME", help="image encoder: convnet, or a timm model")
    group.add_argument("--weights", metavar="NAME", help="encoder weights: none, pretrained, bundled, or a file")
    group.add_argument("--device", choices=("auto", "cpu", "cuda"), metavar="NAME", help="auto (default), cpu or cuda")
    group.add_argument(
        "--precision",
        choices=("no", "tf32", "bf16", "fp16"),
        metavar="NAME",
        help="no (float32, default), tf32, bf16 or fp16",
    )


def _add_folder(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--out", metavar="DIR", help="default: runs/DATASET/MODEL/seedN; several runs: below runs")
    group.add_argument("--overwrite", action="store_true", help="replace the run in that folder")
    group.add_argument("--resume", type=Path, metavar="DIR", help="continue the run in DIR with its settings")


def _run(arguments: argparse.Namespace) -> None:
    if arguments.resume is not None:
        _resume(arguments)
        return
    if arguments.reference is not None and not arguments.report:
        raise ValueError("--reference needs a report: add --report")
    if arguments.model is None and arguments.preset is None and not arguments.parity:
        raise ValueError("run expects --model NAME; see mmfusion list models")
    with interrupt.at_once():
        from mmfusion.api.fit import fit
        from mmfusion.experiments import settings
        from mmfusion.experiments.chosen_data import Data

        flags.import_ahead()
    if _is_sweep(arguments):
        sweep.run(arguments)
        return
    layers, dataset = flags.layers(arguments), flags.dataset(arguments)
    resolved = settings.resolve(arguments.model, dataset, layers)
    with interrupt.at_once():
        flags.import_timm(resolved)
    fit(
        arguments.model,
        Data(dataset),
        overwrite=arguments.overwrite,
        settings=settings.merge({}, *layers),
        verbose=option_names.reporter(arguments),
    )


def _is_sweep(arguments: argparse.Namespace) -> bool:
    # A pattern asks for several runs even where it matches one model.
    model = arguments.model or ""
    several = model == "all" or any(letter in model for letter in ",*?[") or arguments.parity or arguments.cluster
    several = several or arguments.report or "," in flags.dataset(arguments)
    return several or any(getattr(arguments, flag) is not None for flag in flags.SWEEPS)


def _resume(arguments: argparse.Namespace) -> None:
    with interrupt.at_once():
        from mmfusion.api.fit import fit

        flags.import_ahead()
    moved = {"device", "root"}
    given = [
        flag for flag in ("model", "dataset", *SHORT) if getattr(arguments, flag) is not None and flag not in moved
    ]
    several = [flag for flag in flags.SWEEPS if getattr(arguments, flag) is not None]
    several += [flag for flag in ("report", "parity", "reference", "cluster") if getattr(arguments, flag)]
    if given or several or arguments.overrides or arguments.overwrite:
        extra = [*given, *["set"] * bool(arguments.overrides), *["overwrite"] * arguments.overwrite, *several]
        raise ValueError(
            f"--resume goes on with the settings in {arguments.resume}; leave out "
            f"{', '.join('--' + flag.replace('_', '-') for flag in extra)}"
        )
    fit(
        resume=arguments.resume,
        device=arguments.device,
        root=arguments.root,
        plugins=arguments.plugins,
        verbose=option_names.reporter(arguments),
    )
