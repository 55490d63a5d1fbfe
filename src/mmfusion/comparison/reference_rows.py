"""The scikit-learn reference rows of a comparison, in folders that are read as a run's are."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mmfusion.comparison.finished_run import ROW, is_foreign
from mmfusion.comparison.grid import Planned, short
from mmfusion.data.bundle import DataBundle
from mmfusion.experiments import environment, file_digests, folder, predictions, run_report
from mmfusion.experiments.assembly import build_dataset
from mmfusion.experiments.reference_models import REFERENCES, reference_probabilities
from mmfusion.experiments.settings import Run, Settings
from mmfusion.training.checkpoints import FORMAT
from mmfusion.training.reporter import Reporter
from mmfusion.training.result_files import write_json, write_text

FITTED_WITH = "scikit-learn"


def write(
    bundle: DataBundle,
    out: Path,
    *,
    data: Mapping[str, Any] | None = None,
    plugins: Sequence[str] = (),
    seed: int = 0,
    resamples: int = 2000,
) -> list[Path]:
    """Fit the reference rows on a dataset's training part and leave what they say of the others.

    Args:
        bundle: The dataset; it has a single table and a single target of classes.
        out: Folder of the folders: ``<out>/<dataset>/<row>/seed<seed>-<address>``. Finished ones are left as they are.
        data: Options that the bundle was made with, its fold among them. A table and a file of a split count by their
            content: of a corrected one the rows are fitted anew, beside the former.
        plugins: Files that the bundle's dataset comes from, which count likewise; of a dataset of this package none do.
        seed: Of the folds of the inner cross-validation and the boosting.
        resamples: Of the bootstrap.

    Returns:
        The folders, in the order of :data:`~mmfusion.experiments.reference_models.REFERENCES`.

    Raises:
        ValueError: If there is no validation part, or as
            :func:`~mmfusion.experiments.reference_models.reference_probabilities`.
    """
    target, kind = predictions.only_classes(bundle.spec)
    if not len(bundle.validation):
        raise ValueError("the reference rows need a validation part, which thresholds and temperatures are chosen on")
    planned = _rows(bundle.name, data, plugins, seed)
    places = {name: _place(out, settings) for name, settings in planned.items()}
    if all((place / folder.METRICS).is_file() for place in places.values()):
        return list(places.values())
    held_out = {"validation": bundle.validation, "test": bundle.test}
    labels = {part: dataset.labels(target).numpy() for part, dataset in held_out.items()}
    splits = predictions.splits({"train": bundle.train, **held_out})
    for name, found in reference_probabilities(bundle.train, held_out, target, kind, seed=seed).items():
        place, settings = places[name], planned[name]
        if (place / folder.METRICS).is_file():
            continue
        summary = run_report.summarize(
            found,
            labels,
            {part: dataset.groups for part, dataset in held_out.items()},
            names=predictions.class_names(kind),
            ceilings=bundle.ceilings,
            resamples=resamples,
            seed=seed,
        )
        frame = predictions.join(held_out, found, target, kind, seed=seed, fold=bundle.fold)
        about = {"model": name, "dataset": bundle.name, "seed": seed, "fold": bundle.fold, ROW: FITTED_WITH}
        place.mkdir(parents=True, exist_ok=True)
        write_json(place / folder.SETTINGS, {"format": FORMAT, **settings.to_dict()})
        write_text(place / folder.SPLITS, splits.to_csv(index=False, lineterminator="\n"))
        write_json(place / folder.ENVIRONMENT, environment.describe(torch.device("cpu")))
        write_text(place / folder.PREDICTIONS, frame.to_csv(index=False, lineterminator="\n"))
        summary["cases"]["train"] = len(bundle.train)
        if read := file_digests.recorded(settings):
            about[file_digests.CONTENT] = read
        metrics = {"format": FORMAT, **about, **summary, "notes": list(bundle.notes), "cost": {}}
        write_json(place / folder.METRICS, metrics)
    return list(places.values())


def beside(planned: Sequence[Planned], out: Path, reporter: Reporter) -> list[Path]:
    """The reference rows of every dataset, split and seed of a sweep.

    Args:
        planned: The sweep's runs.
        out: Folder of the folders, as for :func:`write`.
        reporter: Told where there can be none, and why.

    Returns:
        The folders.
    """
    places: list[Path] = []
    # By what makes a dataset, so that one is in memory at a time.
    wanted: dict[str, dict[int, Planned]] = {}
    for one in planned:
        chosen = one.settings.run
        which = json.dumps([chosen.dataset, chosen.root, one.settings.data], sort_keys=True, default=repr)
        wanted.setdefault(which, {}).setdefault(chosen.seed, one)
    for by_seed in wanted.values():
        bundle: DataBundle | None = None
        for seed, one in by_seed.items():
            settings = one.settings
            rows = _rows(settings.run.dataset, settings.data, settings.run.plugins, seed)
            there = [_place(out, row) for row in rows.values()]
            if all((place / folder.METRICS).is_file() for place in there):
                places += there
                continue
            try:
                bundle = bundle or build_dataset(settings, reporter)
                with reporter.working(f"fitting the reference rows, seed {seed}"):
                    places += write(
                        bundle,
                        out,
                        data=settings.data,
                        plugins=settings.run.plugins,
                        seed=seed,
                        resamples=settings.train.resamples,
                    )
            except (ValueError, ImportError, OSError) as error:
                reporter.say(f"No reference rows for {one.name}: {' '.join(str(error).split())}")
    return places


def _rows(dataset: str, data: Mapping[str, Any] | None, plugins: Sequence[str], seed: int) -> dict[str, Settings]:
    # A plug-in that brings models alone has no part in what the rows are.
    own = list(plugins) if is_foreign(dataset) else []
    return {name: Settings(Run(name, dataset, seed=seed, plugins=own), data=dict(data or {})) for name in REFERENCES}


def _place(out: Path, settings: Settings) -> Path:
    chosen, fold = settings.run, settings.data.get("fold")
    counted = settings.computed()
    counted["data"] = file_digests.by_content(counted["data"])
    if chosen.plugins:
        counted["plugins"] = file_digests.of_plugins(settings)
    name = f"seed{chosen.seed}" + ("" if fold is None else f"-fold{fold}") + f"-{short(counted)}"
    return out / chosen.dataset / chosen.model.replace(" ", "-") / name
