"""The sample of BUS-BRA: its licence and citation, its size, and that it is a part of the dataset as it is."""

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

SAMPLES = Path(__file__).parents[2] / "docs" / "samples"
SAMPLE = SAMPLES / "bus_bra"
REAL = Path(os.environ.get("MMFUSION_DATA", Path(__file__).parents[2].parent / "shared" / "data")) / "bus_bra"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bus_bra_sample", SAMPLES / "bus_bra.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_sample_has_at_most_sixty_small_images_and_license() -> None:
    table = pd.read_csv(SAMPLE / "bus_data.csv")
    assert len(table) <= 60
    assert {path.stem for path in (SAMPLE / "Images").iterdir()} == set(table["ID"])
    assert {f"bus_{path.stem.removeprefix('mask_')}" for path in (SAMPLE / "Masks").iterdir()} == set(table["ID"])
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file()) < 1.5e6
    licence = (SAMPLE / "LICENSE.txt").read_text(encoding="utf-8")
    assert "Permission is hereby granted, free of charge" in licence
    assert "are required to cite the following article" in licence
    for page in (SAMPLE / "README.txt", SAMPLES.parent / "guide" / "bus-bra.md"):
        text = page.read_text(encoding="utf-8")
        assert "10.1002/mp.16812" in text
        assert "60 breast ultrasound images of 33 patients" in text
    assert table["Case"].nunique() == 33


def test_sampling_rule_is_idempotent(script: ModuleType) -> None:
    """The rule needs the table only."""
    table = pd.read_csv(SAMPLE / "bus_data.csv")
    pd.testing.assert_frame_equal(script.chosen(table), table)


@pytest.mark.slow
def test_sample_is_subset_of_dataset(script: ModuleType, tmp_path: Path) -> None:
    if not (REAL / "bus_data.csv").is_file():
        pytest.skip(f"BUS-BRA is not at {REAL}: set MMFUSION_DATA to the folder that holds bus_bra/")
    script.copy(REAL, tmp_path)
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    committed = {path.relative_to(SAMPLE): path.read_bytes() for path in SAMPLE.rglob("*") if path.is_file()}
    assert committed.pop(Path("README.txt"))
    assert made == committed
