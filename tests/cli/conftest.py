"""A small model and dataset, and arguments that use them."""

from pathlib import Path
from types import ModuleType

import pytest

from mmfusion.comparison import sweep


@pytest.fixture
def tiny(fakes: ModuleType, tmp_path: Path) -> list[str]:
    """The arguments of a run that works, into ``tmp_path/run``."""
    words = "run --model tiny --dataset tiny --epochs 2 --batch-size 16 --device cpu --set train.resamples=50 --out"
    return [*words.split(), str(tmp_path / "run")]


@pytest.fixture
def several(fakes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The arguments of small runs, into ``tmp_path/runs``; they run in this process."""
    monkeypatch.setattr(sweep, "Processes", lambda *_: sweep.Here())
    words = "run --dataset tiny --epochs 1 --batch-size 16 --device cpu --set train.resamples=50 --out"
    return [*words.split(), str(tmp_path / "runs")]
