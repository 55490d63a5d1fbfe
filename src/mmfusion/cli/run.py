"""``mmfusion run``: one run, or several where the flags ask for them."""

import argparse
from pathlib import Path

from mmfusion.cli import flags, interrupt, names, sweep
from mmfusion.experiments import console


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The subcommand."""
    run = commands.add_parser("run", help="train and evaluate a model on a dataset")
    run.add_argument(
        "--model", help="name of a model, or several with commas between, patterns, or all; see --list-models"
    )
    run.add_argument(
        "--dataset",
        help="name of a dataset, or several with commas between (default: synthetic-derm7pt, or table with --table); "
        "see --list-datasets",
    )
    run.add_argument("--task", help="of a dataset that has several; short for --set data.task=")
    run.add_argument("--root", help="folder of the dataset; of a table, the one that its image names are relative to")
    own = run.add_argument_group("a table of your own", "each short for --set data.NAME=")
    own.add_argument("--table", metavar="FILE", help=".csv, .tsv or .parquet")
    own.add_argument("--label", metavar="COLUMN", help="of the classes")
    own.add_argument("--images", nargs="+", metavar="COLUMN", help="of image files: photographs, .nii or .nii.gz")
    own.add_argument("--group", metavar="COLUMN", help="of the patient or lesion, which no two parts share")
    own.add_argument("--test", metavar="COLUMN", help="that says which rows are tested (default: a split by ratio)")
    own.add_argument("--size", nargs="+", type=int, metavar="N", help="pixels: a side; height and width; and slices")
    run.add_argument("--seed", type=int, help="of everything random (default: 0)")
    run.add_argument("--epochs", type=int)
    run.add_argument("--batch-size", type=int)
    run.add_argument("--modality-dropout", type=float, metavar="P", help="take modalities of a case away in training")
    run.add_argument("--encoder", help="image encoder: convnet, or a name of timm's")
    run.add_argument("--weights", help="of the encoder: none, pretrained, bundled, or a file")
    run.add_argument("--device", choices=("auto", "cpu", "cuda"), help="default: auto")
    run.add_argument(
        "--precision",
        choices=("no", "tf32", "bf16", "fp16"),
        help="of training: float32 throughout (no, the default), TF32 for a GPU's convolutions and matrix products, or "
        "automatic mixed precision (bf16, fp16)",
    )
    run.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        dest="overrides",
        help="any setting: run, train, data (the dataset's options), model (the model's); may be repeated",
    )
    run.add_argument(
        "--out",
        help="folder of the run (default: runs/<dataset>/<model>/seed<seed>); of several runs, the folder of their "
        "folders (default: runs)",
    )
    sweep.add_flags(run)
    run.add_argument("--overwrite", action="store_true", help="replace the run in that folder")
    run.add_argument("--resume", type=Path, metavar="DIR", help="go on with the run in DIR, with its own settings")
    flags.add_plugin(run)
    run.add_argument("--list-models", action="store_true", help="print the names and stop")
    run.add_argument("--list-datasets", action="store_true", help="print the names and stop")
    run.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.list_models or arguments.list_datasets:
        flags.import_plugins(arguments)
        wanted = [name for name in ("models", "datasets") if getattr(arguments, f"list_{name}")]
        for what in wanted:
            names.show(what, "*", titled=len(wanted) > 1)
        return
    if arguments.resume is not None:
        _resume(arguments)
        return
    if arguments.parity and arguments.preset is None:
        raise ValueError("--parity is of a preset: --preset paper --parity")
    if arguments.reference is not None and not arguments.report:
        raise ValueError("--reference is of a report: give --report too")
    if arguments.cluster and arguments.launcher in (None, "processes"):
        raise ValueError("--cluster has options of --launcher slurm")
    if arguments.model is None and arguments.preset is None:
        raise ValueError("run expects --model NAME; see --list-models")
    with interrupt.at_once():
        from mmfusion.experiments import run, settings

        flags.import_ahead()
    if _is_sweep(arguments):
        sweep.run(arguments)
        return
    resolved = settings.resolve(arguments.model, flags.dataset(arguments), flags.layers(arguments))
    run.start(resolved, console.reporter(), overwrite=arguments.overwrite)


def _is_sweep(arguments: argparse.Namespace) -> bool:
    # A pattern may match one model alone: what a command does should not hang on that.
    model = arguments.model or ""
    several = model == "all" or any(letter in model for letter in ",*?[")
    several = several or arguments.report or "," in flags.dataset(arguments)
    return several or any(getattr(arguments, flag) is not None for flag in flags.SWEEPS)


def _resume(arguments: argparse.Namespace) -> None:
    with interrupt.at_once():
        from mmfusion.experiments import run

        flags.import_ahead()
    moved = {"device", "root"}
    given = [
        flag
        for flag in ("model", "dataset", *flags.FLAGS)
        if getattr(arguments, flag) is not None and flag not in moved
    ]
    several = [flag for flag in flags.SWEEPS if getattr(arguments, flag) is not None]
    several += [flag for flag in ("report", "parity", "reference", "cluster") if getattr(arguments, flag)]
    if given or several or arguments.overrides or arguments.overwrite:
        extra = [*given, *["set"] * bool(arguments.overrides), *["overwrite"] * arguments.overwrite, *several]
        raise ValueError(
            f"--resume goes on with the settings in {arguments.resume}; leave out "
            f"{', '.join('--' + flag.replace('_', '-') for flag in extra)}"
        )
    run.resume(
        arguments.resume, console.reporter(), device=arguments.device, root=arguments.root, plugins=arguments.plugins
    )
