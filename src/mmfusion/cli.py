"""The command line: ``mmfusion run | predict | check | list``.

What a user can cause ends in one line on standard error and exit code 2; ``MMFUSION_DEBUG=1`` shows the traceback.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmfusion import __version__

# What bad input, a full disk or a package that is not installed can raise. Anything else is a fault of ours and
# keeps its traceback.
_CAUSED_BY_USERS = (ValueError, OSError, ImportError)

# Flags of `run` that are short for --set.
_FLAGS = {
    "root": ("run", "root"),
    "seed": ("run", "seed"),
    "device": ("run", "device"),
    "precision": ("run", "precision"),
    "out": ("run", "out"),
    "epochs": ("train", "epochs"),
    "batch_size": ("train", "batch_size"),
    "modality_dropout": ("train", "modality_dropout"),
    "task": ("data", "task"),
    "table": ("data", "table"),
    "label": ("data", "label"),
    "images": ("data", "images"),
    "group": ("data", "group"),
    "test": ("data", "test"),
    "size": ("data", "size"),
    "encoder": ("model", "encoder"),
    "weights": ("model", "weights"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: Arguments without the program's name; None: those of the process.

    Returns:
        The exit code: 0; 1 for faults that ``check`` found; 2 for what the user can mend; 130 after Ctrl-C.
    """
    arguments = _parser().parse_args(argv)
    try:
        code = arguments.command(arguments)
    except KeyboardInterrupt as stop:
        _complain(str(stop) or "interrupted")
        return 130
    except _CAUSED_BY_USERS as error:
        if os.environ.get("MMFUSION_DEBUG") == "1":
            raise
        _complain(f"error: {_one_line(error)}")
        return 2
    return code or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mmfusion", description="Fusion of images and tabular data.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_run(commands.add_parser("run", help="train and evaluate a model on a dataset"))

    _add_report(commands.add_parser("report", help="compare finished runs: a page, tables and figures"))

    predict = commands.add_parser("predict", help="probabilities for new cases from a run's folder")
    predict.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run")
    predict.add_argument("--table", type=Path, required=True, help="table of new cases, one a row")
    predict.add_argument("--root", type=Path, help="folder that the table's image names are relative to")
    predict.add_argument("--out", type=Path, required=True, help="CSV to write")
    _add_plugin(predict)
    predict.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    predict.add_argument(
        "--missing-images",
        default="error",
        choices=("error", "absent"),
        help="what an image file that is not there means (default: %(default)s)",
    )
    predict.set_defaults(command=_predict)

    checking = commands.add_parser("check", help="whether a dataset's folder is complete and whole")
    checking.add_argument("name", metavar="NAME", help="a dataset that reads files; see list datasets")
    checking.add_argument("--root", type=Path, help="folder of the dataset")
    checking.add_argument("--full", action="store_true", help="decode every image, not its header alone")
    checking.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="options",
        help="an option of the dataset, as in task=diagnosis; may be repeated",
    )
    checking.set_defaults(command=_check)

    listing = commands.add_parser("list", help="names of the models or datasets")
    listing.add_argument("what", nargs="?", choices=("models", "datasets"), help="default: both")
    listing.add_argument("pattern", nargs="?", default="*", help="as in a shell: '*mamba*'")
    _add_plugin(listing)
    listing.set_defaults(command=_list)
    return parser


def _add_plugin(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--plugin",
        action="append",
        type=Path,
        metavar="FILE",
        dest="plugins",
        help="Python file that registers models or other parts; may be repeated",
    )


def _add_run(run: argparse.ArgumentParser) -> None:
    run.add_argument("--model", help="name of a model; see --list-models")
    run.add_argument(
        "--dataset", help="name of a dataset (default: synthetic-derm7pt, or table with --table); see --list-datasets"
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
    run.add_argument("--precision", choices=("no", "bf16", "fp16"), help="automatic mixed precision (default: no)")
    run.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        dest="overrides",
        help="any setting: run, train, data (the dataset's options), model (the model's); may be repeated",
    )
    run.add_argument("--out", help="folder of the run (default: runs/<dataset>/<model>/seed<seed>)")
    run.add_argument(
        "--ablate",
        nargs="*",
        metavar="NAME",
        help="run the model whole and without each of its parts, into folders of --out; of some names only, if given",
    )
    run.add_argument("--overwrite", action="store_true", help="replace the run in that folder")
    run.add_argument("--resume", type=Path, metavar="DIR", help="go on with the run in DIR, with its own settings")
    _add_plugin(run)
    run.add_argument("--list-models", action="store_true", help="print the names and stop")
    run.add_argument("--list-datasets", action="store_true", help="print the names and stop")
    run.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.list_models or arguments.list_datasets:
        _import(arguments)
        wanted = [name for name in ("models", "datasets") if getattr(arguments, f"list_{name}")]
        for what in wanted:
            _print_names(what, "*", titled=len(wanted) > 1)
        return
    if arguments.resume is not None:
        _resume(arguments)
        return
    if arguments.model is None:
        raise ValueError("run expects --model NAME; see --list-models")
    from mmfusion.training import run, settings

    flags: dict[str, Any] = {}
    if arguments.plugins:
        flags = {"run": {"plugins": [str(path) for path in arguments.plugins]}}
    for flag, (section, key) in _FLAGS.items():
        value = getattr(arguments, flag)
        if flag == "size" and value is not None and len(value) == 1:
            value = value[0]
        if flag == "table" and value is not None:
            # A resumed run may be started from another working folder.
            value = os.path.abspath(value)
        if value is not None:
            flags = settings.merge(flags, {section: {key: value}})
    overrides = [settings.parse_override(text) for text in arguments.overrides]
    # A flag says it more plainly than --set, so it has the last word.
    default = settings.DEFAULT_DATASET if arguments.table is None else "table"
    resolved = settings.resolve(arguments.model, arguments.dataset or default, [*overrides, flags])
    if arguments.ablate is None:
        run.start(resolved, _reporter(), overwrite=arguments.overwrite)
        return
    from mmfusion.training import ablation

    out = None if resolved.run.out is None else Path(resolved.run.out)
    ablation.ablate(resolved, out, _reporter(), only=arguments.ablate, overwrite=arguments.overwrite)


def _resume(arguments: argparse.Namespace) -> None:
    from mmfusion.training import run

    moved = {"device", "root"}
    given = [
        flag for flag in ("model", "dataset", *_FLAGS) if getattr(arguments, flag) is not None and flag not in moved
    ]
    ablates = arguments.ablate is not None
    if given or arguments.overrides or arguments.overwrite or ablates:
        extra = [*given, *["set"] * bool(arguments.overrides), *["overwrite"] * arguments.overwrite]
        extra += ["ablate"] * ablates
        raise ValueError(
            f"--resume goes on with the settings in {arguments.resume}; leave out "
            f"{', '.join('--' + flag.replace('_', '-') for flag in extra)}"
        )
    run.resume(arguments.resume, _reporter(), device=arguments.device, root=arguments.root, plugins=arguments.plugins)


def _predict(arguments: argparse.Namespace) -> None:
    from mmfusion.data.table_file import read_table
    from mmfusion.training import files, predictor

    if arguments.out.exists():
        raise FileExistsError(f"{arguments.out} exists already: choose another file with --out")
    if not arguments.table.is_file():
        raise FileNotFoundError(f"no table {arguments.table}")
    loaded = predictor.load(arguments.run, device=arguments.device, plugins=arguments.plugins)
    # Text as it stands in the file: the reader knows each column's type.
    frame = read_table(arguments.table)
    result = loaded.predict(frame, arguments.root, missing_images=arguments.missing_images)
    files.write_text(arguments.out, result.to_csv(index=False, lineterminator="\n"))
    _reporter().say(f"{len(result)} cases are in {arguments.out}")


def _import(arguments: argparse.Namespace) -> None:
    from mmfusion import registry

    registry.import_files(arguments.plugins or ())


def _check(arguments: argparse.Namespace) -> int:
    from mmfusion.data import check

    report = check.from_arguments(arguments)
    print(report)
    return 1 if report.faults else 0


def _add_report(report: argparse.ArgumentParser) -> None:
    report.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="runs, or folders with runs below")
    report.add_argument(
        "--reference",
        default="concat",
        metavar="METHOD",
        help="what the others are tested against, named before the results are seen (default: %(default)s)",
    )
    report.add_argument(
        "--metrics",
        default="all",
        metavar="NAMES",
        help="those to show and test, with commas between, or a set: derm7pt, men (default: %(default)s)",
    )
    report.add_argument("--out", type=Path, metavar="DIR", help="folder of the report (default: FOLDER/report)")
    report.set_defaults(command=_report)


def _report(arguments: argparse.Namespace) -> None:
    from mmfusion.benchmark.report import command

    command.report(
        arguments.folders,
        _reporter(),
        reference=arguments.reference,
        metrics=arguments.metrics,
        out=arguments.out,
    )


def _list(arguments: argparse.Namespace) -> None:
    _import(arguments)
    for what in (arguments.what,) if arguments.what else ("models", "datasets"):
        _print_names(what, arguments.pattern, titled=arguments.what is None)


def _print_names(what: str, pattern: str, *, titled: bool) -> None:
    from mmfusion import registry

    if titled:
        print(f"{what}:")
    for name in (registry.models if what == "models" else registry.datasets).list(pattern):
        print(f"  {name}" if titled else name)


def _reporter() -> Any:
    from mmfusion.layers.optional import need
    from mmfusion.training.reporter import Rich

    console = need("rich.console", "bench").Console()
    if not console.is_terminal:
        # Without a terminal rich assumes 80 columns and would break the table's cells.
        console.width = 140
    return Rich(console)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text or type(error).__name__


def _complain(text: str) -> None:
    print(f"mmfusion: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
