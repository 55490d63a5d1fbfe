"""``mmfusion run`` of several runs: methods, datasets, folds and seeds, and the report of them."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmfusion.cli import flags, interrupt, option_names

if TYPE_CHECKING:
    from mmfusion.comparison.grid import Planned
    from mmfusion.comparison.reference_choice import Choice
    from mmfusion.comparison.sweep import Launcher
    from mmfusion.training.reporter import Reporter


_TESTED = "5"
"""Seeds of a tuned comparison, as many as a verdict needs."""


def add_flags(run: argparse.ArgumentParser) -> None:
    """Add the flags of several runs."""
    group = run.add_argument_group("several runs, one folder each; the same command continues them")
    group.add_argument("--preset", metavar="NAME", help="a whole comparison: paper, frozen, finetuned or quick")
    group.add_argument(
        "--parity", action="store_true", help="--preset paper by the published procedure, with its faults"
    )
    group.add_argument("--seeds", metavar="N", help="number of seeds, counted from 0; or a list (--trials: 5)")
    group.add_argument(
        "--trials",
        type=int,
        nargs="?",
        const=16,
        metavar="N",
        help="tune every method with N trials on validation, a power of two (default: 16)",
    )
    group.add_argument(
        "--repeats",
        type=int,
        metavar="K",
        help="starts per seed that differ by rounding alone, to see its effect (default: 1)",
    )
    group.add_argument("--folds", type=int, metavar="N", help="number of folds of a cross-validation")
    group.add_argument("--ablate", nargs="*", metavar="PART", help="also without these parts (default: each in turn)")
    group.add_argument("--report", action="store_true", help="write a report to OUT/report, with reference rows")
    group.add_argument(
        "--references",
        metavar="ROWS",
        help="reference rows: table, embeddings, lightgbm, tabpfn (non-commercial weights); all; none",
    )
    group.add_argument(
        "--reference", metavar="MODEL", help="model that the report compares the others with (default: concat)"
    )
    group.add_argument("--jobs", type=int, metavar="N", help="runs at the same time (default: 1)")
    group.add_argument("--processes", type=int, metavar="N", help="processes per run, started by torchrun")
    group.add_argument(
        "--launcher",
        choices=("processes", "slurm", "local"),
        metavar="NAME",
        help="processes (default), slurm or local",
    )
    group.add_argument(
        "--cluster",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="cluster",
        help="option of submitit, as in slurm_partition=gpu; may be repeated",
    )


def run(arguments: argparse.Namespace) -> None:
    """The runs, their table and their report."""
    with interrupt.at_once():
        from mmfusion.comparison import noise_table, reference_rows, summary, sweep, tuning

        flags.import_ahead()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(
            "several runs are started by one process: leave out torchrun (see --processes), or start a single run"
        )
    if arguments.seeds is not None and arguments.seed is not None:
        raise ValueError("--seed is for one run and --seeds for several: give one of them")
    flags.import_plugins(arguments)
    out = Path(arguments.out or "runs")
    references = _references(arguments)
    planned = _planned(arguments, out)
    reporter = option_names.reporter(arguments)
    prespecified = arguments.report and _check_reference(arguments, planned, references, reporter, out)
    launcher = _launcher(arguments, out)
    if arguments.trials is None:
        outcomes = sweep.sweep(planned, reporter, launcher=launcher, overwrite=arguments.overwrite)
    else:
        outcomes = tuning.run(
            planned, arguments.trials, reporter, launcher=launcher, overwrite=arguments.overwrite, out=out
        )
    rows = summary.rows(outcomes)
    places: list[Path] = []
    if rows and references.rows:
        places = reference_rows.beside(planned, out, reporter, references)
    if rows:
        of_tables = summary.reference_rows(places)
        sentences = summary.ahead(rows, of_tables)
        rows += of_tables
        summary.write(rows, out)
        for dataset in dict.fromkeys(row.dataset for row in rows):
            reporter.show(summary.table(rows, dataset))
        for sentence in sentences:
            reporter.say(sentence)
        reporter.say(f"The table is in {out / summary.CSV} and {out / summary.MARKDOWN}")
    if not rows and any(outcome.metrics is not None for outcome in outcomes):
        reporter.say("There is no table and no report, since no test set was evaluated (run.test=false)")
    if noise := noise_table.rows(outcomes):
        for dataset in dict.fromkeys(dataset for dataset, _ in noise):
            reporter.show(noise_table.table(noise, dataset))
        reporter.say(f"The noise of the repeats is in {noise_table.write(noise, out)}")
    if arguments.report and rows:
        from mmfusion.comparison.report import command

        places = [outcome.planned.folder for outcome in outcomes if outcome.metrics is not None] + places
        reference, metrics = _judged_by(arguments)
        command.report(
            places, reporter, reference=reference, metrics=metrics, out=out / command.FOLDER, beforehand=prespecified
        )
    sweep.check(outcomes)


def _references(arguments: argparse.Namespace) -> "Choice":
    """The reference rows that are fitted beside the methods."""
    from mmfusion.comparison import reference_choice

    wanted = True
    for layer in flags.layers(arguments):
        wanted = layer.get("run", {}).get("references", wanted)
    if wanted:
        return reference_choice.choose(arguments.references)
    if arguments.references not in (None, reference_choice.NONE):
        raise ValueError(
            f"run.references=false leaves all reference rows out: leave it out for --references {arguments.references}"
        )
    return reference_choice.choose(reference_choice.NONE)


def _launcher(arguments: argparse.Namespace, out: Path) -> "Launcher":
    from mmfusion.comparison import cluster, sweep
    from mmfusion.experiments import settings

    each = 1 if arguments.processes is None else arguments.processes
    if arguments.launcher in (None, "processes"):
        return sweep.Processes(1 if arguments.jobs is None else arguments.jobs, each)
    options: dict[str, Any] = {}
    for text in arguments.cluster:
        options |= settings.parse_override(f"cluster.{text}")["cluster"]
    return cluster.Cluster(
        arguments.launcher, jobs=arguments.jobs, processes=each, options=options, logs=out / "submitit"
    )


def _judged_by(arguments: argparse.Namespace) -> tuple[str, str]:
    """The reference of a report, and its metrics."""
    from mmfusion.comparison import presets
    from mmfusion.comparison.analysis import assemble

    reference, metrics = assemble.REFERENCE, assemble.ALL
    if arguments.preset is not None:
        names = flags.datasets(arguments)
        of_datasets = [presets.load(arguments.preset, name, arguments.parity) for name in names]
        reference = of_datasets[0].reference
        # A metric that one of them does not have is left out there.
        metrics = ",".join(dict.fromkeys(metric for preset in of_datasets for metric in preset.metrics))
    return arguments.reference or reference, metrics


def _check_reference(
    arguments: argparse.Namespace, planned: "list[Planned]", references: "Choice", reporter: "Reporter", out: Path
) -> bool:
    """Check before training that the report will have its reference.

    Returns:
        Whether the reference was named before any run finished; always true for a preset's and the default.
    """
    from mmfusion.comparison import reference_encoder, reference_note
    from mmfusion.experiments.reference_features import EMBEDDINGS

    reference, _ = _judged_by(arguments)
    names = [name for planned_run in planned for name in (planned_run.label, planned_run.settings.run.model)]
    known = reference_encoder.encoders(planned)[0]
    rows = [row.name for row in references.rows if known or EMBEDDINGS not in row.inputs]
    if reference in names or reference in rows:
        if arguments.reference is None:
            return True
        return reference_note.note(out, reference, planned, overwrite=arguments.overwrite)
    methods = ", ".join(dict.fromkeys(planned_run.label for planned_run in planned))
    known_names = "; ".join(filter(None, (methods, ", ".join(rows))))
    if arguments.reference is not None:
        raise ValueError(f"--reference expects one of the methods that run ({known_names}), got {reference!r}")
    reporter.say(
        f"The reference {reference} is not among the methods ({methods}), so the report will have no tests: add it to "
        "--model, or name another one with --reference."
    )
    return True


def _planned(arguments: argparse.Namespace, out: Path) -> "list[Planned]":
    """All runs of the command."""
    from mmfusion.comparison import grid

    layers = flags.layers(arguments)
    datasets = flags.datasets(arguments)
    seeds = None if arguments.seeds is None else grid.seeds(arguments.seeds)
    if arguments.trials is not None and seeds is None and arguments.seed is None:
        seeds = grid.seeds(_TESTED)
    repeats = 1 if arguments.repeats is None else arguments.repeats
    if arguments.preset is None:
        methods = grid.methods(arguments.model, arguments.ablate)
        return grid.plan(
            methods,
            datasets,
            layers,
            seeds=seeds or [arguments.seed or 0],
            folds=arguments.folds,
            repeats=repeats,
            out=out,
        )
    seeds = [arguments.seed] if arguments.seed is not None else seeds
    return [
        planned_run for name in datasets for planned_run in _of_preset(arguments, name, layers, seeds, repeats, out)
    ]


def _of_preset(
    arguments: argparse.Namespace,
    dataset: str,
    layers: list[dict[str, Any]],
    seeds: list[int] | None,
    repeats: int,
    out: Path,
) -> "list[Planned]":
    from mmfusion.comparison import grid, presets
    from mmfusion.experiments.devices import pick_device

    preset = presets.load(arguments.preset, dataset, arguments.parity)
    methods = None
    if arguments.model is not None or arguments.ablate is not None:
        methods = grid.methods(arguments.model or ",".join(preset.models), arguments.ablate)
    planned = preset.plan(layers, methods=methods, seeds=seeds, folds=arguments.folds, repeats=repeats, out=out)
    reporter = option_names.reporter(arguments)
    reporter.say(f"{preset.title} on {dataset}: {preset.about} Compared with {preset.reference}.")
    # Other sizes than the paper's take another time.
    whole = not any("size" in layer.get("data", {}) or "encoder" in layer.get("model", {}) for layer in layers)
    if whole and pick_device(arguments.device or "auto").type == "cpu" and (warning := preset.on_cpu(planned)):
        reporter.say(warning)
    return planned
