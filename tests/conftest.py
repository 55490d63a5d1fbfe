"""What every test runs under: one seed, one thread, no clock in property tests."""

import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import pytest
import torch

# Tiny tensors are slower on several threads than on one, and results must not depend on how many there are.
# What a test starts as a process of its own shares the cores with the tests beside it.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
# What a test allows, as a plug-in, is allowed in no other and is no business of the user's.
os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="mmfusion-tests-")
hypothesis.settings.register_profile("mmfusion", deadline=None, max_examples=25)
hypothesis.settings.register_profile("quick", deadline=None, max_examples=5)


def pytest_configure(config: pytest.Config) -> None:
    """Fewer examples in the quick loop; others each time, so that they add up."""
    hypothesis.settings.load_profile("quick" if config.getoption("markexpr") == "not slow" else "mmfusion")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    # As torch.manual_seed, which without a GPU keeps the stack of each call for when there is one.
    torch.default_generator.manual_seed(0)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(0)


@pytest.fixture(autouse=True)
def _quick_references(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sweep fits scikit-learn's reference rows: one candidate each instead of a search of seconds.

    Optional libraries count as not installed, so that the tests are the same with and without them.
    """
    monkeypatch.setattr("mmfusion.comparison.reference_choice.installed", lambda module: False)
    monkeypatch.setattr("mmfusion.experiments.reference_learners.PENALTIES", {"C": [1.0]})
    monkeypatch.setattr(
        "mmfusion.experiments.reference_learners.BOOSTINGS",
        {"learning_rate": [0.1], "max_leaf_nodes": [4], "max_iter": [5]},
    )
    monkeypatch.setattr("mmfusion.experiments.reference_models.PENALTIES", {"C": [1.0]})
    monkeypatch.setattr(
        "mmfusion.experiments.reference_models.BOOSTINGS",
        {"learning_rate": [0.1], "max_leaf_nodes": [4], "max_iter": [5]},
    )


def _installed(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = Path(__file__).parent / "helpers" / "fakes.py"
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
def fakes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module ``fakes``, with its dataset and model registered as ``tiny``."""
    return _installed(monkeypatch)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the tiny model on the tiny dataset, for tests that only read it and need ``fakes``."""
    from mmfusion.experiments import run, settings

    out = tmp_path_factory.mktemp("trained") / "run"
    chosen = {
        "run": {"out": str(out), "device": "cpu", "robustness": False, "references": False},
        "train": {"epochs": 3, "batch_size": 16, "lr": 0.03, "resamples": 50},
    }
    with pytest.MonkeyPatch.context() as patch:
        _installed(patch)
        torch.manual_seed(0)
        return run.start(settings.resolve("tiny", "tiny", [chosen])).folder


@pytest.fixture
def start(fakes: ModuleType, tmp_path: Path) -> Callable[..., Path]:
    """Run the tiny model on the tiny dataset: ``start("name", {"train": {...}})`` gives the folder."""
    from mmfusion.experiments import run, settings

    def started(name: str = "run", overrides: dict[str, Any] | None = None, **options: Any) -> Path:
        base = {
            "run": {"out": str(tmp_path / name), "device": "cpu"},
            "train": {"epochs": 3, "batch_size": 16, "lr": 0.03, "resamples": 50},
        }
        return run.start(settings.resolve("tiny", "tiny", [base, overrides or {}]), **options).folder

    return started


REAL = Path(os.environ.get("MMFUSION_DATA", Path(__file__).parents[1].parent / "shared" / "data"))


@pytest.fixture
def real_ham10000() -> Path:
    root = REAL / "ham10000"
    if not (root / "HAM10000_metadata.csv").is_file():
        pytest.skip(f"real HAM10000 images are not at {root}: set MMFUSION_DATA to the folder that holds ham10000/")
    return root
