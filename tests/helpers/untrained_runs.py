"""Run folders of models that were built and not trained: what predicting and exporting needs, in no time."""

from pathlib import Path
from typing import Any

import torch

from mmfusion.data.reader import CaseReader
from mmfusion.experiments import folder
from mmfusion.experiments.assembly import build_model
from mmfusion.experiments.settings import Settings
from mmfusion.training import checkpoints
from mmfusion.training.result_files import write_json


def write(place: Path, model: str, reader: CaseReader, *, locked: dict[str, Any] | None = None, **options: Any) -> Path:
    """Settings, case, weights, and threshold and temperature where they are given."""
    settings = Settings.from_dict({"run": {"model": model, "dataset": "table"}, "model": options})
    torch.manual_seed(0)
    built = build_model(settings, reader.spec, weights=False)
    place.mkdir(parents=True)
    write_json(place / folder.SETTINGS, {"format": 1, **settings.to_dict()})
    (target,) = reader.targets
    case = {"dataset": "table", "target": target, "spec": reader.spec.to_dict(), "reader": reader.to_dict()}
    write_json(place / folder.CASE, {"format": 1, **case})
    checkpoints.save(place / checkpoints.BEST, built.state_dict(), {})
    if locked is not None:
        write_json(place / folder.LOCKED, {"format": 1, **locked})
    return place
