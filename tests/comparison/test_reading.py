import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers import run_folders
from mmfusion.comparison.collect import collect
from mmfusion.comparison.reading import read

HISTORY = [{"epoch": 1, "phase": "train", "losses": {"ce": 0.5}, "validation": {"auc": 0.7}}]


def test_run_is_read_from_three_files(tmp_path: Path) -> None:
    place = run_folders.write(tmp_path / "a" / "b", "cfcml", seed=3, n=12, names=("x", "NA", "007"))
    result = collect([tmp_path])
    assert not result.skipped
    [run] = result.runs
    assert (run.folder, run.model, run.seed, run.fold, run.classes) == (place, "cfcml", 3, 0, ("x", "NA", "007"))
    frame = run_folders.predictions(seed=3, n=12, names=("x", "NA", "007"))
    test = frame[frame["part"] == "test"]
    assert run.test.ids.tolist() == test["id"].tolist()
    assert [run.classes[label] for label in run.test.labels] == test["label"].tolist()
    np.testing.assert_allclose(run.test.probabilities, test.filter(like="prob_"), atol=1e-15)
    assert run.validation is not None
    assert len(run.validation) == 12
    assert (run.history, run.environment, run.robustness, run.subgroups, run.n_train, run.row) == (None,) * 6


def test_optional_files_are_read(tmp_path: Path) -> None:
    ids = ["t0-001", "t0-000"]
    rows = [{"kind": "cells", "modality": None, "share": 0.0, "metrics": {"auc": {"value": 0.5}}}]
    files = {
        "history.json": HISTORY,
        "environment.json": {"device": "cpu"},
        "robustness.json": {"format": 1, "rows": rows},
        "subgroups.csv": pd.DataFrame({"id": ids, "sex": ["f", "m"]}).to_csv(index=False),
    }
    run = read(run_folders.write(tmp_path / "a", n=3, files=files, metrics={"cases": {"train": 2}}))
    assert (run.history, run.environment, run.robustness, run.n_train) == (HISTORY, {"device": "cpu"}, rows, 2)
    assert run.subgroups is not None
    assert run.subgroups["sex"].tolist() == ["m", "f", ""]


def test_compact_results_are_read(tmp_path: Path) -> None:
    """Compressed, and without the cases of validation."""
    place = run_folders.write(tmp_path / "a", n=6, parts=("test",), metrics={"threshold": 0.3})
    path = place / "predictions.csv"
    (place / "predictions.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    [run] = collect([tmp_path]).runs
    assert run.validation is None
    assert run.metrics["threshold"] == 0.3
    assert len(run.test) == 6


BROKEN = {
    "settings.json": [
        ("", "not valid JSON"),
        ("[]", "was not written by mmfusion"),
        ('{"format": 2}', "format 2 of a newer version, this one reads 1"),
        ('{"format": 0}', "format 0 of an older version"),
        ('{"format": 1, "run": {"model": "concat"}, "new": {}}', "unknown section 'new'"),
        ('{"format": 1, "run": {"dataset": "x"}}', "settings.json"),
        (None, "settings.json missing"),
    ],
    "metrics.json": [
        (None, "unfinished: metrics.json is missing"),
        ("{", "not valid JSON"),
        ('{"format": 3}', "format 3 of a newer version"),
        ('{"accuracy": 1}', "was not written by mmfusion"),
        ('{"format": 1, "cost": []}', "cost is not what a run writes"),
        ('{"format": 1, "threshold": "high"}', "threshold is not what a run writes, got 'high'"),
        ('{"format": 1, "content": []}', "content is not what a run writes"),
        ('{"format": 1, "content": {"data": []}}', "content: data is not what a run writes"),
        ('{"format": 1, "content": {"plugins": {}}}', "content: plugins is not what a run writes"),
        ('{"format": 1, "content": {"plugins": [1]}}', "content: plugins is not what a run writes"),
    ],
    "predictions.csv": [
        (None, "predictions.csv missing"),
        ("", "not a table"),
        ("a,b\n1,2,3\n4,5,6,7\n", "predictions.csv"),
        ("id,label\n1,a\n", "expects the columns id, group, part, label, fold, seed"),
        (run_folders.changed("prob_nevus", "nan"), "probabilities of 1 out of 12 cases are not finite"),
        (run_folders.changed("prob_nevus", "high"), "probabilities of 1 out of 12 cases are not finite"),
        (run_folders.changed("prob_nevus", 2), "from 0 to 1 that sum to 1"),
        (run_folders.changed("label", "wart"), "labels without a column of probabilities: wart"),
        (run_folders.changed("seed", 4), "expects one seed, got 0, 4"),
        (run_folders.changed("fold", "x"), "expects one fold"),
        (run_folders.changed("id", "t0-000"), "an id more than once in the test set"),
        (run_folders.predictions(n=6, seed=1), "is of seed 1, settings.json of seed 0"),
        (run_folders.predictions(n=6, parts=("validation",)), "no case of the test set"),
    ],
    "history.json": [("[1]", "not what a run writes"), ("{", "not valid JSON")],
    "environment.json": [("[]", "not what a run writes"), ('{"versions": [1]}', "not what a run writes")],
    "robustness.json": [('{"format": 1, "rows": [{}]}', "not what a run writes"), ('{"format": 2}', "newer version")],
    "subgroups.csv": [("a\n1\n", "column 'id'"), ("id,sex\n1,f\n1,m\n", "each case once")],
}


@pytest.mark.parametrize(
    ("name", "content", "reason"), [(name, *item) for name, many in BROKEN.items() for item in many]
)
def test_damaged_run_is_skipped_with_reason(tmp_path: Path, name: str, content: object, reason: str) -> None:
    run_folders.write(tmp_path / "good", "max", n=6)
    place = run_folders.write(tmp_path / "bad", n=6)
    (place / name).unlink(missing_ok=True)
    if content is not None:
        text = content.to_csv(index=False) if isinstance(content, pd.DataFrame) else str(content)
        (place / name).write_text(text)
    result = collect([tmp_path])
    assert [run.folder.name for run in result.runs] == ["good"]
    assert [item.folder for item in result.skipped] == [place]
    assert reason in result.skipped[0].reason


def test_binary_predictions_are_skipped_with_reason(tmp_path: Path) -> None:
    place = run_folders.write(tmp_path / "a", n=6)
    (place / "predictions.csv").unlink()
    (place / "predictions.csv.gz").write_bytes(b"\x1f\x8b broken")
    assert "predictions.csv.gz cannot be read" in run_folders.reasons(tmp_path)["a"]
    (place / "predictions.csv.gz").unlink()
    (place / "predictions.csv").write_bytes(b"\xff\xfe\xff")
    assert "predictions.csv cannot be read" in run_folders.reasons(tmp_path)["a"]


def test_reference_row_records_its_library(tmp_path: Path) -> None:
    run = read(run_folders.write(tmp_path / "a", "logistic regression", n=6, row=True))
    assert (run.model, run.row) == ("logistic regression", "scikit-learn")
    packed = json.loads((tmp_path / "a" / "metrics.json").read_text())
    (tmp_path / "a" / "metrics.json").write_text(json.dumps({**packed, "reference_row": 1}))
    assert "reference_row is not what a run writes, got 1" in run_folders.reasons(tmp_path)["a"]
