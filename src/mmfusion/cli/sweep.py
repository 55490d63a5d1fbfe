"""``mmfusion run`` of several runs: methods, datasets, folds and seeds, and the report of them."""

import argparse
from typing import Any

from mmfusion.cli import flags, interrupt, option_names


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
        from mmfusion.api.compare import compare
        from mmfusion.comparison import grid
        from mmfusion.experiments import settings
        from mmfusion.experiments.chosen_data import Data

        flags.import_ahead()
    if arguments.seeds is not None and arguments.seed is not None:
        raise ValueError("--seed is for one run and --seeds for several: give one of them")
    seeds = None if arguments.seeds is None else grid.seeds(arguments.seeds)
    of_launcher: dict[str, Any] = {}
    for text in arguments.cluster:
        of_launcher |= settings.parse_override(f"cluster.{text}")["cluster"]
    flags.import_plugins(arguments)
    compare(
        arguments.model,
        [Data(name) for name in flags.datasets(arguments)],
        seeds=seeds if arguments.seed is None else [arguments.seed],
        trials=arguments.trials,
        repeats=1 if arguments.repeats is None else arguments.repeats,
        folds=arguments.folds,
        ablate=arguments.ablate,
        preset=arguments.preset,
        parity=arguments.parity,
        reference=arguments.reference,
        references=arguments.references,
        report=arguments.report,
        device=arguments.device,
        jobs=arguments.jobs,
        processes=arguments.processes,
        launcher=arguments.launcher or "processes",
        launcher_options=of_launcher,
        out=arguments.out or "runs",
        overwrite=arguments.overwrite,
        settings=settings.merge({}, *flags.layers(arguments)),
        verbose=option_names.reporter(arguments),
    )
