import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module ``fakes``, with its dataset and model registered as ``tiny``."""
    path = Path(__file__).with_name("fakes.py")
    name = "mmfusion_test_fakes"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    sys.modules[name].install(monkeypatch)
    return sys.modules[name]


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
