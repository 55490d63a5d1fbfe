import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import run_folders
from mmfusion.comparison.analysis.learning import beyond, cost, learning
from mmfusion.comparison.finished_run import FinishedRun
from mmfusion.comparison.reading import read


def entry(epoch: int, phase: str = "train", auc: float | None = 0.5) -> dict[str, Any]:
    validation = {} if phase != "train" else {"auc": auc}
    return {"epoch": epoch, "phase": phase, "losses": {"ce": 0.5, "anchor": 0.25}, "validation": validation}


def run(path: Path, seed: int = 0, **options: Any) -> FinishedRun:
    return read(run_folders.write(path / str(seed), seed=seed, n=6, **options))


def test_one_learning_curve_per_run(tmp_path: Path) -> None:
    history = [entry(1, "pretrain"), entry(2), entry(3, auc=None)]
    first = run(tmp_path, files={"history.json": history}, metrics={"chosen": {"epoch": 2}})
    [result] = learning([first, run(tmp_path, 1)])
    assert (result.metric, result.chosen, result.phases) == ("auc", 2, ("pretrain", "train", "train"))
    np.testing.assert_array_equal(result.epochs, [1, 2, 3])
    np.testing.assert_array_equal(result.validation, [np.nan, 0.5, np.nan])
    np.testing.assert_array_equal(result.loss, [0.75] * 3)


def test_cost_is_mean_over_runs(tmp_path: Path) -> None:
    texts = {"parameters": {"total": 10, "trainable": 4}, "seconds": 3.0, "peak_memory_bytes": None}
    files = {"environment.json": {"processor": "a fast one"}}
    runs = [run(tmp_path, metrics={"cost": texts}, files=files), run(tmp_path, 1, metrics={"cost": {"seconds": 5.0}})]
    result = cost(runs)
    assert result is not None
    assert (result.parameters, result.trainable, result.train_seconds, result.devices) == (10, 4, 4, ("a fast one",))
    assert np.isnan([result.peak_memory_bytes, result.flops_per_case]).all()
    assert cost([run(tmp_path, 2)]) is None


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        ({}, None),
        ({"metrics": {"cost": {"epochs": 10}}}, None),
        ({"metrics": {"cost": {"epochs": 20}}}, "20 epochs in all, the budget is 10"),
        ({"files": {"history.json": [entry(1, "pretrain"), entry(2)]}}, r"before the supervised one \(pretrain\)"),
    ],
)
def test_training_beyond_equal_budget_is_reported(tmp_path: Path, options: dict[str, Any], texts: str | None) -> None:
    result = beyond([run(tmp_path, **options)])
    assert result == texts if texts is None else re.search(texts, str(result))
