"""Reference rows of a comparison, fitted by scikit-learn, in folders that are read like those of runs."""

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
    """Fit the reference rows on a dataset's training set and store their predictions for the other sets.

    Args:
        bundle: The dataset, with a single table and a single target of classes.
        out: Parent of the folders ``<out>/<dataset>/<row>/seed<seed>-<address>``. Finished ones are left unchanged.
        data: Options of the dataset, with its fold. The address has the digests of a table and a split file: after a
            correction the rows are fitted anew, in new folders.
        plugins: Files that define the dataset, by digest in the address; unused for a dataset of this package.
        seed: Seed of the inner cross-validation's folds and of the boosting.
        resamples: Number of bootstrap resamples.

    Returns:
        The folders, in the order of :data:`~mmfusion.experiments.reference_models.REFERENCES`.

    Raises:
        ValueError: If there is no validation set, or as
            :func:`~mmfusion.experiments.reference_models.reference_probabilities`.
    """
    target, kind = predictions.only_classes(bundle.spec)
    if not len(bundle.validation):
        raise ValueError("the reference rows need a validation set, on which thresholds and temperatures are chosen")
    planned = _rows(bundle.name, data, plugins, seed)
    places = {name: _place(out, settings) for name, settings in planned.items()}
    if all((place / folder.METRICS).is_file() for place in places.values()):
        return list(places.values())
    held_out = {"validation": bundle.validation, "test": bundle.test}
    labels = {part: dataset.labels(target).numpy() for part, dataset in held_out.items()}
    splits = predictions.splits({"train": bundle.train, **held_out})
    for name, probabilities in reference_probabilities(bundle.train, held_out, target, kind, seed=seed).items():
        place, settings = places[name], planned[name]
        if (place / folder.METRICS).is_file():
            continue
        summary = run_report.summarize(
            probabilities,
            labels,
            {part: dataset.groups for part, dataset in held_out.items()},
            names=predictions.class_names(kind),
            ceilings=bundle.ceilings,
            resamples=resamples,
            seed=seed,
        )
        frame = predictions.join(held_out, probabilities, target, kind, seed=seed, fold=bundle.fold)
        about = {"model": name, "dataset": bundle.name, "seed": seed, "fold": bundle.fold, ROW: FITTED_WITH}
        place.mkdir(parents=True, exist_ok=True)
        write_json(place / folder.SETTINGS, {"format": FORMAT, **settings.to_dict()})
        write_text(place / folder.SPLITS, splits.to_csv(index=False, lineterminator="\n"))
        write_json(place / folder.ENVIRONMENT, environment.describe(torch.device("cpu")))
        write_text(place / folder.PREDICTIONS, frame.to_csv(index=False, lineterminator="\n"))
        summary["cases"]["train"] = len(bundle.train)
        if digests := file_digests.recorded(settings):
            about[file_digests.CONTENT] = digests
        metrics = {"format": FORMAT, **about, **summary, "notes": list(bundle.notes), "cost": {}}
        write_json(place / folder.METRICS, metrics)
    return list(places.values())


def beside(planned: Sequence[Planned], out: Path, reporter: Reporter) -> list[Path]:
    """The reference rows of every dataset, split and seed of a sweep.

    Args:
        planned: The sweep's runs.
        out: Parent of the folders, as for :func:`write`.
        reporter: Receives a line for each dataset without reference rows, with the reason.

    Returns:
        The folders.
    """
    places: list[Path] = []
    # By dataset and options, so that one dataset is in memory at a time.
    by_dataset: dict[str, dict[int, Planned]] = {}
    for run in planned:
        chosen = run.settings.run
        key = json.dumps([chosen.dataset, chosen.root, run.settings.data], sort_keys=True, default=repr)
        by_dataset.setdefault(key, {}).setdefault(chosen.seed, run)
    for by_seed in by_dataset.values():
        bundle: DataBundle | None = None
        for seed, run in by_seed.items():
            settings = run.settings
            rows = _rows(settings.run.dataset, settings.data, settings.run.plugins, seed)
            existing = [_place(out, row) for row in rows.values()]
            if all((place / folder.METRICS).is_file() for place in existing):
                places += existing
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
                reporter.say(f"No reference rows for {run.name}: {' '.join(str(error).split())}")
    return places


def _rows(dataset: str, data: Mapping[str, Any] | None, plugins: Sequence[str], seed: int) -> dict[str, Settings]:
    # A plug-in that brings only models does not change the rows.
    counted = list(plugins) if is_foreign(dataset) else []
    return {
        name: Settings(Run(name, dataset, seed=seed, plugins=counted), data=dict(data or {})) for name in REFERENCES
    }


def _place(out: Path, settings: Settings) -> Path:
    chosen, fold = settings.run, settings.data.get("fold")
    counted = settings.computed()
    counted["data"] = file_digests.by_content(counted["data"])
    for key in ("repeat", "test"):
        del counted["run"][key]  # settings of trained models, which the rows of former versions do not have
    if chosen.plugins:
        counted["plugins"] = file_digests.of_plugins(settings)
    name = f"seed{chosen.seed}" + ("" if fold is None else f"-fold{fold}") + f"-{short(counted)}"
    return out / chosen.dataset / chosen.model.replace(" ", "-") / name
