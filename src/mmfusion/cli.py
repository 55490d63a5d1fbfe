"""The command line: ``mmfusion run | report | compact | predict | check | list``."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmfusion import __version__
from mmfusion.training import console

if TYPE_CHECKING:
    from mmfusion.benchmark.grid import Planned
    from mmfusion.training.reporter import Reporter

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
    return console.guarded(lambda: arguments.command(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mmfusion", description="Fusion of images and tabular data.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_run(commands.add_parser("run", help="train and evaluate a model on a dataset"))

    _add_report(commands.add_parser("report", help="compare finished runs: a page, tables and figures"))

    compacting = commands.add_parser("compact", help="copy of finished runs what a report needs, in a few small files")
    compacting.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="runs, or folders with runs below")
    compacting.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the copies")
    compacting.add_argument(
        "--subgroups", action="store_true", help="with each case's sex, age band and so on (default: without)"
    )
    compacting.set_defaults(command=_compact)

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
        help="what an image file that is not there, or a column of such, means (default: %(default)s)",
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
    run.add_argument("--precision", choices=("no", "bf16", "fp16"), help="automatic mixed precision (default: no)")
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
    many = run.add_argument_group("several runs, each in a folder that its settings name; the same command goes on")
    many.add_argument(
        "--preset",
        metavar="NAME",
        help="a comparison with its models, seeds, folds and settings: paper (derm7pt, men), frozen, finetuned "
        "(ham10000) or quick (a CPU, any dataset); other flags win over it",
    )
    many.add_argument(
        "--parity",
        action="store_true",
        help="of --preset paper: the published procedure, its faults with it, where it can be",
    )
    many.add_argument("--seeds", metavar="N", help="so many seeds, from 0 on; or which, as in 0,3,7")
    many.add_argument("--folds", type=int, metavar="N", help="cross-validation with so many folds")
    many.add_argument(
        "--ablate",
        nargs="*",
        metavar="NAME",
        help="the models also without each of their parts; without some by name, if given",
    )
    many.add_argument(
        "--report",
        action="store_true",
        help="write a report of them at the end, with scikit-learn's reference rows on the table, to OUT/report",
    )
    many.add_argument(
        "--reference",
        metavar="METHOD",
        help="what the others are tested against in the report, named beforehand (default: concat, or the preset's)",
    )
    many.add_argument("--jobs", type=int, metavar="N", help="most runs at once (default: 1)")
    many.add_argument("--processes", type=int, metavar="N", help="that train one model together, started by torchrun")
    many.add_argument("--launcher", choices=("processes", "slurm", "local"), help="where they run (default: processes)")
    many.add_argument(
        "--cluster",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="cluster",
        help="an option of submitit's, as in slurm_partition=gpu or timeout_min=600; may be repeated",
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
    if arguments.parity and arguments.preset is None:
        raise ValueError("--parity is of a preset: --preset paper --parity")
    if arguments.reference is not None and not arguments.report:
        raise ValueError("--reference is of a report: give --report too")
    if arguments.cluster and arguments.launcher in (None, "processes"):
        raise ValueError("--cluster has options of --launcher slurm")
    if arguments.model is None and arguments.preset is None:
        raise ValueError("run expects --model NAME; see --list-models")
    if _is_sweep(arguments):
        _sweep(arguments)
        return
    from mmfusion.training import run, settings

    resolved = settings.resolve(arguments.model, _dataset(arguments), _layers(arguments))
    run.start(resolved, console.reporter(), overwrite=arguments.overwrite)


_SWEEPS = ("preset", "seeds", "folds", "ablate", "jobs", "processes", "launcher")
"""Flags that make a command one of several runs."""


def _is_sweep(arguments: argparse.Namespace) -> bool:
    # A pattern may match one model alone: what a command does should not hang on that.
    model = arguments.model or ""
    several = model == "all" or any(letter in model for letter in ",*?[")
    several = several or arguments.report or "," in _dataset(arguments)
    return several or any(getattr(arguments, flag) is not None for flag in _SWEEPS)


def _sweep(arguments: argparse.Namespace) -> None:
    from mmfusion.benchmark import cluster, summary, sweep
    from mmfusion.training import settings

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(
            "several runs are begun by one process: leave the launcher out, see --processes, or start one run"
        )
    if arguments.seeds is not None and arguments.seed is not None:
        raise ValueError("--seed is of one run, --seeds of several: give one of them")
    _import(arguments)
    out = Path(arguments.out or "runs")
    planned = _planned(arguments, out)
    reporter = console.reporter()
    named = arguments.report and _check_reference(arguments, planned, reporter, out)
    launcher: sweep.Launcher
    each = 1 if arguments.processes is None else arguments.processes
    if arguments.launcher in (None, "processes"):
        launcher = sweep.Processes(1 if arguments.jobs is None else arguments.jobs, each)
    else:
        options: dict[str, Any] = {}
        for text in arguments.cluster:
            options |= settings.parse_override(f"cluster.{text}")["cluster"]
        launcher = cluster.Cluster(
            arguments.launcher, jobs=arguments.jobs, processes=each, options=options, logs=out / "submitit"
        )
    outcomes = sweep.sweep(planned, reporter, launcher=launcher, overwrite=arguments.overwrite)
    rows = summary.rows(outcomes)
    if rows:
        summary.write(rows, out)
        for dataset in dict.fromkeys(row.dataset for row in rows):
            reporter.show(summary.table(rows, dataset))
        reporter.say(f"The table is in {out / summary.CSV} and {out / summary.MARKDOWN}")
    if arguments.report and rows:
        from mmfusion.benchmark import references
        from mmfusion.benchmark.report import command

        places = [outcome.planned.folder for outcome in outcomes if outcome.metrics is not None]
        places += references.beside(planned, out, reporter)
        reference, metrics = _judged_by(arguments)
        command.report(
            places, reporter, reference=reference, metrics=metrics, out=out / command.FOLDER, beforehand=named
        )
    sweep.check(outcomes)


def _judged_by(arguments: argparse.Namespace) -> tuple[str, str]:
    """The reference of a report, and its metrics."""
    from mmfusion.benchmark import presets
    from mmfusion.benchmark.analysis import assemble

    reference, metrics = assemble.REFERENCE, assemble.ALL
    if arguments.preset is not None:
        names = [name.strip() for name in _dataset(arguments).split(",") if name.strip()]
        of_each = [presets.load(arguments.preset, name, arguments.parity) for name in names]
        reference = of_each[0].reference
        # A metric that one of them does not have is left out there.
        metrics = ",".join(dict.fromkeys(metric for preset in of_each for metric in preset.metrics))
    return arguments.reference or reference, metrics


def _check_reference(arguments: argparse.Namespace, planned: "list[Planned]", reporter: "Reporter", out: Path) -> bool:
    """Whether the report will have its reference, asked before anything is trained.

    Returns:
        Whether it is named before any of the runs is finished, as that of a preset and the default are.
    """
    from mmfusion.benchmark import beforehand
    from mmfusion.training.references import REFERENCES

    reference, _ = _judged_by(arguments)
    names = [name for one in planned for name in (one.label, one.settings.run.model)]
    if reference in names or reference in REFERENCES:
        if arguments.reference is None:
            return True
        return beforehand.note(out, reference, planned, overwrite=arguments.overwrite)
    there = ", ".join(dict.fromkeys(one.label for one in planned))
    if arguments.reference is not None:
        raise ValueError(
            f"--reference expects one of the methods that run ({there}; {', '.join(REFERENCES)}), got {reference!r}"
        )
    reporter.say(
        f"The reference {reference} is not among the methods ({there}), so the report will have no tests: add it to "
        "--model, or name another one with --reference."
    )
    return True


def _planned(arguments: argparse.Namespace, out: Path) -> "list[Planned]":
    """All runs that the command asks for."""
    from mmfusion.benchmark import grid

    layers = _layers(arguments)
    datasets = [name.strip() for name in _dataset(arguments).split(",") if name.strip()]
    seeds = None if arguments.seeds is None else grid.seeds(arguments.seeds)
    if arguments.preset is None:
        methods = grid.methods(arguments.model, arguments.ablate)
        return grid.plan(
            methods, datasets, layers, seeds=seeds or [arguments.seed or 0], folds=arguments.folds, out=out
        )
    seeds = [arguments.seed] if arguments.seed is not None else seeds
    return [one for name in datasets for one in _of_preset(arguments, name, layers, seeds, out)]


def _of_preset(
    arguments: argparse.Namespace, dataset: str, layers: list[dict[str, Any]], seeds: list[int] | None, out: Path
) -> "list[Planned]":
    from mmfusion.benchmark import grid, presets
    from mmfusion.training.parts import pick_device

    preset = presets.load(arguments.preset, dataset, arguments.parity)
    methods = None
    if arguments.model is not None or arguments.ablate is not None:
        methods = grid.methods(arguments.model or ",".join(preset.models), arguments.ablate)
    planned = preset.plan(layers, methods=methods, seeds=seeds, folds=arguments.folds, out=out)
    reporter = console.reporter()
    reporter.say(f"{preset.title} on {dataset}: {preset.about} Compared with {preset.reference}.")
    # Other sizes than the paper's take another time.
    whole = not any("size" in layer.get("data", {}) or "encoder" in layer.get("model", {}) for layer in layers)
    if whole and pick_device(arguments.device or "auto").type == "cpu" and (warning := preset.on_cpu(planned)):
        reporter.say(warning)
    return planned


def _dataset(arguments: argparse.Namespace) -> str:
    """The dataset that is asked for, or the default."""
    from mmfusion.training import settings

    asked: str | None = arguments.dataset
    return asked or (settings.DEFAULT_DATASET if arguments.table is None else "table")


def _layers(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """What the flags say about the settings, each layer over the one before."""
    from mmfusion.training import settings

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
    # A flag says it more plainly than --set, so it has the last word.
    return [*(settings.parse_override(text) for text in arguments.overrides), flags]


def _resume(arguments: argparse.Namespace) -> None:
    from mmfusion.benchmark import work

    moved = {"device", "root"}
    given = [
        flag for flag in ("model", "dataset", *_FLAGS) if getattr(arguments, flag) is not None and flag not in moved
    ]
    several = [flag for flag in _SWEEPS if getattr(arguments, flag) is not None]
    several += [flag for flag in ("report", "parity", "reference", "cluster") if getattr(arguments, flag)]
    if given or several or arguments.overrides or arguments.overwrite:
        extra = [*given, *["set"] * bool(arguments.overrides), *["overwrite"] * arguments.overwrite, *several]
        raise ValueError(
            f"--resume goes on with the settings in {arguments.resume}; leave out "
            f"{', '.join('--' + flag.replace('_', '-') for flag in extra)}"
        )
    work.resume(
        arguments.resume, console.reporter(), device=arguments.device, root=arguments.root, plugins=arguments.plugins
    )


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
    reporter = console.reporter()
    for name in loaded.absent(frame, arguments.missing_images):
        reporter.say(f"All cases lack {name}: the table has none of its columns")
    reporter.say(f"{len(result)} cases are in {arguments.out}")


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
        metavar="METHOD",
        help="what the others are tested against (default: concat); one for the runs to come is given to mmfusion run",
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
        console.reporter(),
        named=arguments.reference,
        metrics=arguments.metrics,
        out=arguments.out,
    )


def _compact(arguments: argparse.Namespace) -> None:
    from mmfusion.benchmark.compact import compact

    kept = compact(arguments.folders, arguments.out, subgroups=arguments.subgroups)
    reporter = console.reporter()
    for one in kept.skipped:
        reporter.say(f"Skipped {one.folder}: {one.reason}")
    n = len(kept.folders)
    reporter.say(f"{n} run{'s' * (n != 1)}, {kept.size / 1e6:.1f} MB, in {arguments.out}")


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


if __name__ == "__main__":
    sys.exit(main())
