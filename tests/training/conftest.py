from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def start(fakes: ModuleType, tmp_path: Path) -> Callable[..., Path]:
    """Run the tiny model on the tiny dataset: ``start("name", {"train": {...}})`` gives the folder."""
    from mmfusion.training import run, settings

    def started(name: str = "run", overrides: dict[str, Any] | None = None, **options: Any) -> Path:
        base = {
            "run": {"out": str(tmp_path / name), "device": "cpu"},
            "train": {"epochs": 3, "batch_size": 16, "lr": 0.03, "resamples": 50},
        }
        return run.start(settings.resolve("tiny", "tiny", [base, overrides or {}]), **options).folder

    return started
