"""The scikit-learn reference rows of a comparison, in folders that are read as a run's are."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mmfusion.benchmark.collect import ROW, computed
from mmfusion.data.cases import DataBundle
from mmfusion.training import environment, folder, predictions, report
from mmfusion.training.checkpoints import FORMAT
from mmfusion.training.files import write_json, write_text
from mmfusion.training.references import REFERENCES, reference_probabilities
from mmfusion.training.settings import Run, Settings

FITTED_WITH = "scikit-learn"


def write(
    bundle: DataBundle, out: Path, *, data: Mapping[str, Any] | None = None, seed: int = 0, resamples: int = 2000
) -> list[Path]:
    """Fit the reference rows on a dataset's training part and leave what they say of the others.

    Args:
        bundle: The dataset; it has a single table and a single target of classes.
        out: Folder of the folders: ``<out>/<dataset>/<row>/seed<seed>-<address>``. Finished ones are left as they are.
        data: Options that the bundle was made with, its fold among them.
        seed: Of the folds of the inner cross-validation and the boosting.
        resamples: Of the bootstrap.

    Returns:
        The folders, in the order of :data:`~mmfusion.training.references.REFERENCES`.

    Raises:
        ValueError: As :func:`~mmfusion.training.references.reference_probabilities`.
    """
    target, kind = predictions.only_classes(bundle.spec)
    planned = {name: Settings(Run(name, bundle.name, seed=seed), data=dict(data or {})) for name in REFERENCES}
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
        summary = report.summarise(
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
        metrics = {"format": FORMAT, **about, **summary, "notes": list(bundle.notes), "cost": {}}
        write_json(place / folder.METRICS, metrics)
    return list(places.values())


def _place(out: Path, settings: Settings) -> Path:
    run, fold = settings.run, settings.data.get("fold")
    address = hashlib.sha256(json.dumps(computed(settings), sort_keys=True, default=repr).encode()).hexdigest()[:10]
    name = f"seed{run.seed}" + ("" if fold is None else f"-fold{fold}") + f"-{address}"
    return out / run.dataset / run.model.replace(" ", "-") / name
