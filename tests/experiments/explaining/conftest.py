"""A small trained run with images and a table."""

from pathlib import Path

import pytest

import mmfusion as mmf


@pytest.fixture(scope="session")
def derm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One epoch of cfcml on made-up lesions of 32 pixels, with calibration cases."""
    sizes = {"n_train": 60, "n_validation": 24, "n_test": 24, "size": 32}
    data = mmf.load_dataset("synthetic_derm7pt", verbose=False, **sizes)
    train = {"train.calibration": 0.3, "train.resamples": 20, "run.robustness": False, "run.references": False}
    out = tmp_path_factory.mktemp("derm") / "run"
    run = mmf.fit("cfcml", data, epochs=1, out=out, device="cpu", verbose=False, settings=train)
    return run.folder
