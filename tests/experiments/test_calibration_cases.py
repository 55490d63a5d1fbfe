"""A run with calibration cases: sets of classes for new ones."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

import mmfusion
from mmfusion.data.splits import load_split
from mmfusion.experiments import ensemble, folder, locked, run, sharing
from mmfusion.experiments.external import evaluate
from mmfusion.metrics.conformal import calibration_scores, prediction_sets
from mmfusion.training.result_files import read_json

pytestmark = pytest.mark.slow


def test_calibration_cases_are_held_out_and_give_prediction_sets(
    start: Callable[..., Path], fakes: ModuleType, tmp_path: Path
) -> None:
    chosen = {"train": {"calibration": 0.4, "epochs": 1}, "run": {"robustness": False, "references": False}}
    out = start(overrides=chosen)
    splits = pd.read_csv(out / folder.SPLITS)
    parts = dict(iter(splits.groupby("part")))
    assert len(parts["calibration"]) == 26
    assert len(parts["train"]) == 38
    # Whole patients, of the training cases alone.
    assert not set(parts["calibration"]["group"]) & set(parts["train"]["group"])
    assert set(parts["calibration"]["id"]) < set(fakes.table(64, seed=0)["case"])
    metrics = read_json(out / folder.METRICS)
    assert metrics["cases"] == {"train": 38, "validation": 64, "calibration": 26, "test": 64}
    held_out = pd.read_csv(out / folder.PREDICTIONS)
    rows = held_out[held_out["part"] == "calibration"]
    # One case of each patient.
    n = metrics["conformal"]["calibration"]
    assert sum(n.values()) == rows["group"].nunique() == 13
    known = locked.read(out)
    assert tuple(map(len, known.scores)) == tuple(n.values())
    every = calibration_scores(
        rows[["prob_good", "prob_bad"]].to_numpy(), (rows["label"] == "bad").to_numpy().astype(int)
    )
    assert all(set(own) <= set(of_all) for own, of_all in zip(known.scores, every))
    # The sets of new cases.
    frame = fakes.table(64, seed=2)
    found = mmfusion.load(out).predict(frame, coverage=0.7)
    sets = prediction_sets(found[["prob_good", "prob_bad"]].to_numpy(), known.scores, 0.7)
    wanted = [" | ".join(name for name, has in zip(("good", "bad"), row) if has) for row in sets]
    assert list(found["set"]) == wanted
    assert list(found["abstain"]) == list(sets.sum(1) != 1)
    test = metrics["conformal"]["test"]
    sets = prediction_sets(found[["prob_good", "prob_bad"]].to_numpy(), known.scores, 0.9)
    y = (frame["dx"] == "bad").to_numpy().astype(int)
    assert test["coverage"]["value"] == pytest.approx(sets[np.arange(64), y].mean())
    with pytest.raises(ValueError, match="coverage expects float above 0 to below 1"):
        mmfusion.load(out).predict(frame, coverage=1.5)
    # The run is resumed and read as any other; its split can be used again.
    assert run.resume(out).metrics["conformal"] == metrics["conformal"]
    train = fakes.table(64, seed=0)
    cases = pd.concat([train, fakes.table(64, seed=1), fakes.table(64, seed=2)])
    split = load_split(out / folder.SPLITS, list(cases["case"]), list(cases["patient"]))
    assert len(split.train) == 64
    # An evaluation measures the sets; the page says what they do not promise.
    evaluation = evaluate(out, frame, device="cpu", n_resamples=0)
    assert evaluation.unreached == ""
    assert evaluation.scores is not None
    assert evaluation.scores.sets is not None
    assert evaluation.scores.sets.coverage[0] == pytest.approx(test["coverage"]["value"])
    # An ensemble has them where the cases are the same; a shared folder has the scores.
    shutil.copytree(out, tmp_path / "seed1")
    together = ensemble.load([out, tmp_path / "seed1"]).locked
    assert together is not None
    assert sum(map(len, together.scores)) == 13
    sharing.share(out, tmp_path / "shared")
    assert locked.read(tmp_path / "shared").scores == known.scores


def test_without_calibration_cases_no_prediction_sets(trained: Path, fakes: ModuleType) -> None:
    found = mmfusion.load(trained).predict(fakes.table(4, seed=2))
    assert "set" not in found
    assert "abstain" not in found
    assert "conformal" not in read_json(trained / folder.METRICS)
    assert "scores" not in read_json(trained / folder.LOCKED)
