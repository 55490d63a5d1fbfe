import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

import mmfusion
from mmfusion.training import checkpoints, files, folder, predictor

Start = Callable[..., Path]


def test_it_gives_the_runs_own_test_predictions(
    start: Start, fakes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = start(overrides={"model": {"weights": "some"}, "run": {"precision": "bf16"}})
    # The folder alone: elsewhere, without what a dataset or a download would need.
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in (folder.SETTINGS, folder.CASE, checkpoints.BEST):
        shutil.move(out / name, moved / name)
    monkeypatch.setenv("TINY_OFFLINE", "1")
    frame = fakes.table(64, seed=2)
    found = mmfusion.load(moved).predict(frame.drop(columns="dx"))
    wanted = pd.read_csv(out / folder.PREDICTIONS).query("part == 'test'").reset_index(drop=True)
    assert list(found.columns) == ["case", "patient", "prob_good", "prob_bad", "label", "missing"]
    assert list(found["case"]) == list(wanted["id"])
    columns = ["prob_good", "prob_bad"]
    np.testing.assert_allclose(found[columns], wanted[columns], rtol=0, atol=1e-12)
    assert list(found["label"]) == list(np.where(found["prob_bad"] > found["prob_good"], "bad", "good"))
    assert set(found["missing"]) == {""}


def test_the_chosen_weights_alone_are_enough(start: Start, fakes: ModuleType, tmp_path: Path) -> None:
    """Vocabularies, statistics and settings are in the checkpoint."""
    out = start()
    alone = shutil.copy(out / checkpoints.BEST, tmp_path / "alone.safetensors")
    frame = fakes.table(6, seed=5)
    pd.testing.assert_frame_equal(mmfusion.load(alone).predict(frame), mmfusion.load(out).predict(frame))
    with pytest.raises(ValueError, match="is not a checkpoint of mmfusion"):
        predictor.load(out / folder.CASE)
    tensors, about = checkpoints.load(out / checkpoints.BEST)
    checkpoints.save(tmp_path / "old.safetensors", tensors, {"epoch": about["epoch"]})
    with pytest.raises(ValueError, match=r"old\.safetensors does not say how cases are read"):
        predictor.load(tmp_path / "old.safetensors")


def test_a_batch_of_one_and_the_index_are_kept(start: Start, fakes: ModuleType) -> None:
    loaded = predictor.load(start())
    frame = fakes.table(6, seed=5).set_index(pd.Index(range(10, 16)))
    whole, one = loaded.predict(frame), loaded.predict(frame.loc[[13]])
    assert list(whole.index) == list(range(10, 16))
    assert list(one.index) == [13]
    np.testing.assert_allclose(one["prob_bad"], whole.loc[[13], "prob_bad"], atol=1e-6)


def test_what_was_missing_is_said(start: Start, fakes: ModuleType) -> None:
    frame = fakes.table(4, seed=5).astype({"site": object})
    frame.loc[1, "size"] = np.nan
    frame.loc[2, ["size", "site"]] = [np.nan, "ear"]
    found = predictor.load(start()).predict(frame)
    assert list(found["missing"]) == ["", "size", "size, site", ""]
    assert found["prob_bad"].between(0, 1).all()


@pytest.mark.parametrize("name", [folder.SETTINGS, folder.CASE, checkpoints.BEST])
def test_a_file_that_is_missing_is_named(start: Start, name: str) -> None:
    out = start()
    (out / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing"):
        predictor.load(out)


def test_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no run folder"):
        predictor.load(tmp_path / "nowhere")


@pytest.mark.parametrize("name", [folder.SETTINGS, folder.CASE])
def test_a_newer_format_is_refused(start: Start, name: str) -> None:
    out = start()
    files.write_json(out / name, files.read_json(out / name) | {"format": checkpoints.FORMAT + 1})
    with pytest.raises(ValueError, match=f"{name} has format 2, this version of mmfusion reads up to 1"):
        predictor.load(out)


def test_weights_of_another_model_are_refused(start: Start) -> None:
    out = start()
    settings = files.read_json(out / folder.SETTINGS)
    settings["model"]["width"] = 9
    files.write_json(out / folder.SETTINGS, settings)
    with pytest.raises(ValueError, match=r"best\.safetensors holds the weights of another model: size mismatch"):
        predictor.load(out)


def test_new_cases_are_checked(start: Start, fakes: ModuleType) -> None:
    loaded = predictor.load(start())
    frame = fakes.table(4, seed=5)
    with pytest.raises(ValueError, match="size"):
        loaded.predict(frame.drop(columns="size"))
    with pytest.raises(ValueError, match="size"):
        loaded.predict(frame.assign(size="large"))
