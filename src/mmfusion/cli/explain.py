"""``mmfusion explain``: sheets of a run's cases, and a cohort."""

import argparse
from pathlib import Path

from mmfusion.cli import flags, interrupt, option_names

NAME = "explain"
SUMMARY = "Show where a run's predictions come from: sheets of cases, and means"


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    explain = commands.add_parser(NAME, description=SUMMARY)
    explain.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a finished run; one alone")
    explain.add_argument(
        "--cases",
        nargs="+",
        default=["worst,best,random"],
        metavar="WHICH",
        help="worst, best (by loss), random, or names of cases, divided by commas (default: worst,best,random)",
    )
    explain.add_argument("--n", type=int, default=8, metavar="N", help="sheets in all (default: %(default)s)")
    explain.add_argument("--table", type=Path, help="other cases than the run's test set; labels are optional")
    explain.add_argument(
        "--class",
        dest="target_class",
        metavar="NAME",
        help="class to explain (default: of two the second, of more the one that each case is given)",
    )
    explain.add_argument(
        "--map",
        default="grad_cam",
        dest="map_method",
        metavar="METHOD",
        help="grad_cam, grad_cam_plus_plus, hires_cam, layer_cam, score_cam or none (default: %(default)s)",
    )
    explain.add_argument(
        "--at", type=int, default=-1, metavar="N", help="stage of the encoder, 0: before the first (default: the last)"
    )
    explain.add_argument(
        "--regions", type=int, default=12, metavar="N", help="of each image, about; 0: none (default: %(default)s)"
    )
    explain.add_argument(
        "--baseline",
        default="blur",
        choices=("blur", "mean", "zero"),
        help="what a region is replaced by (default: %(default)s)",
    )
    explain.add_argument("--orders", type=int, dest="n_orders", metavar="N", help="random orders where sampled")
    explain.add_argument(
        "--cohort", type=int, default=48, dest="n_cohort", metavar="N", help="cases behind the means (default: 48)"
    )
    explain.add_argument(
        "--faithfulness",
        type=int,
        default=16,
        dest="n_faithfulness",
        metavar="N",
        help="most cases on which the maps are measured; 0: none (default: %(default)s)",
    )
    explain.add_argument("--seed", type=int, default=0, help="of random cases and orders (default: %(default)s)")
    explain.add_argument(
        "--coverage", type=float, default=0.9, metavar="SHARE", help="of conformal sets (default: %(default)s)"
    )
    flags.add_training_cases(explain)
    explain.add_argument(
        "--gap",
        action="store_true",
        help="draw where the model puts the modalities, before and after training, as gap.html, gap.png and gap.csv",
    )
    explain.add_argument("--out", type=Path, metavar="DIR", help="folder of the pages (default: RUN/explanation)")
    flags.add_reading(explain)
    explain.set_defaults(command=_explain)


def _explain(arguments: argparse.Namespace) -> None:
    with interrupt.at_once():
        from mmfusion.api.trained_run import load
        from mmfusion.experiments.modality_gap.initial_weights import start_is_known

        flags.import_ahead()
    if len(arguments.runs) > 1:
        raise ValueError(f"explain takes one run, got {len(arguments.runs)}: explain each with a call of its own")
    run = load(arguments.runs[0], arguments.device, plugins=arguments.plugins)
    table = arguments.table
    out = arguments.out or run.folder / ("explanation" if table is None else f"explanation-{table.stem}")
    run.explain(
        arguments.cases,
        n=arguments.n,
        table=table,
        image_root=arguments.image_root,
        missing_images=arguments.missing_images,
        target_class=arguments.target_class,
        map_method=arguments.map_method,
        at=arguments.at,
        regions=arguments.regions,
        baseline=arguments.baseline,
        n_orders=arguments.n_orders,
        n_cohort=arguments.n_cohort,
        n_faithfulness=arguments.n_faithfulness,
        seed=arguments.seed,
        coverage=arguments.coverage,
        training=not arguments.no_training,
        training_root=arguments.training_root,
        out=out,
        formulas=arguments.formulas,
        verbose=option_names.reporter(arguments),
    )
    if arguments.gap:
        known = start_is_known(run.folder)
        gap = run.modality_gap(
            table,
            arguments.training_root if table is None and arguments.image_root is None else arguments.image_root,
            arguments.missing_images,
            before=known,
            seed=arguments.seed,
        )
        _, page, _ = gap.write(out)
        print(
            f"The modality gap is in {page}"
            + ("" if known else ", after training alone: the folder does not say how it began")
        )
