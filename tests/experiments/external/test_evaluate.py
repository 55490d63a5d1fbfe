"""A trained run on other tables."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from helpers.commands import complaint
from mmfusion.cli import main
from mmfusion.experiments import ensemble, folder, locked, sharing
from mmfusion.experiments.external import ExternalEvaluation, evaluate
from mmfusion.experiments.external.files import CASES, RESULT
from mmfusion.metrics.classification import evaluate as metrics_of
from mmfusion.training.result_files import read_json, write_json

pytestmark = pytest.mark.slow
Evaluate = Callable[..., ExternalEvaluation]


@pytest.fixture
def on(trained: Path, fakes: ModuleType) -> Evaluate:
    """The run on a table, without intervals."""

    def evaluated(frame: pd.DataFrame, **options: Any) -> ExternalEvaluation:
        return evaluate(trained, frame, device="cpu", n_resamples=0, **options)

    return evaluated


def test_own_test_set_reproduces_metrics(trained: Path, fakes: ModuleType) -> None:
    found = evaluate(trained, fakes.table(64, seed=2), device="cpu", n_resamples=50)
    own = read_json(trained / folder.METRICS)
    assert found.scores is not None
    assert found.internal is not None
    assert found.locked == locked.read(trained)
    for name in ("auc", "sensitivity", "specificity", "g_mean", "brier", "log_loss"):
        # The same cases, labels, threshold, resamples: the run's table.
        assert found.scores.metrics[name].to_dict() == pytest.approx(own["test"][name], abs=1e-6, nan_ok=True), name
    assert found.scores.calibrated["log_loss"].value == pytest.approx(own["scaled"]["test"]["log_loss"]["value"])
    for name, (value, *_) in found.changes.items():
        assert value == pytest.approx(0, abs=1e-9), name
    # No patient of it was trained on, and nothing is distributed otherwise.
    assert found.duplicates == ()
    assert found.unreached == ""
    assert {one.kind for one in found.shifts} == {"column", "embedding"}
    assert not any(one.shifted for one in found.shifts)
    assert {one.by for one in found.subgroups} == {"where", "how large"}
    # Equal rows are few, so they are compared.
    assert found.sentences() == []


def test_threshold_and_temperature_are_locked_on_shifted_table(on: Evaluate, fakes: ModuleType, trained: Path) -> None:
    frame = fakes.table(120, seed=7)
    frame["size"] += 1.0
    found = on(frame, subgroups=["site"])
    assert next(one.title for one in found.shifts if one.shifted) == "column size"
    assert "column size" in found.sentences()[0]
    assert found.scores is not None
    chosen = locked.read(trained)
    p = found.cases[["prob_good", "prob_bad"]].to_numpy()
    y = (frame["dx"] == "bad").to_numpy()
    assert found.scores.metrics["sensitivity"].value == (p[y, 1] >= chosen.threshold).mean()
    assert (found.cases["label"] == np.where(p[:, 1] >= chosen.threshold, "bad", "good")).all()
    assert found.scores.calibrated["brier"].value == metrics_of(chosen.calibrated(p), y)["brier"][0]
    assert list(found.cases["true"]) == list(frame["dx"])
    assert {one.value for one in found.subgroups} == {"arm", "leg"}
    assert found.scores.n_groups == 60
    json.dumps(found.to_dict(), allow_nan=False)


def test_missing_columns_and_labels_are_noted(on: Evaluate, fakes: ModuleType) -> None:
    frame = fakes.table(40, seed=7).astype(object)
    frame.loc[0, "dx"], frame.loc[1, "dx"], frame.loc[2, "dx"] = "ugly", None, " BAD"
    frame.loc[3, "size"] = "large"
    frame["site"] = ["ear", *["leg"] * 39]
    found = on(frame.rename(columns={"size": "SIZE"}))
    assert found.labels is not None
    assert found.scores is not None
    assert found.scores.n_cases == 38
    assert found.labels.unknown == {"ugly": 1}
    text = " ".join(found.sentences())
    for part in (
        "1 of 40 rows have no label",
        "no class of the run and are in no metric: 'ugly' (1x)",
        "'size' is read from 'SIZE'",
        "'site' has levels that no training case had, which count as missing: 'ear' (1x)",
        "'site' has no row of the level 'arm'",
        "'large' (1x)",
    ):
        assert part in text
    assert list(found.cases["missing"][[0, 3]]) == ["site", "size"]
    assert len(found.cases) == 40


@pytest.mark.parametrize(
    ("change", "said", "scored"),
    [
        (lambda f: f.drop(columns="dx"), "The table has no column of labels", False),
        (lambda f: f.assign(dx=None), "20 of 20 rows have no label", False),
        (lambda f: f.assign(dx="other"), "No row has a label of the run's classes", False),
        (lambda f: f.assign(dx="bad"), "The table has no cases of 'good': undefined there are auc", True),
        (lambda f: f.drop(columns="size"), "no column 'size': it counts as missing in all cases", True),
        (lambda f: f.drop(columns="patient"), "no column 'patient' of patients or lesions", True),
        (lambda f: f.assign(case="one"), "rows are called by their numbers", True),
        (lambda f: f.iloc[:1], "The table has no cases of", True),
        (lambda f: f.assign(site=None, size=None), "", True),
    ],
)
def test_incomplete_table_is_evaluated(
    on: Evaluate, fakes: ModuleType, change: Callable[[pd.DataFrame], pd.DataFrame], said: str, scored: bool
) -> None:
    frame = change(fakes.table(20, seed=7))
    found = on(frame)
    assert said in " ".join(found.sentences())
    assert (found.scores is not None) == scored
    assert len(found.cases) == len(frame)
    assert found.cases["label"].notna().all()
    json.dumps(found.to_dict(), allow_nan=False)


def test_missing_columns_and_empty_table_raise(on: Evaluate, fakes: ModuleType) -> None:
    frame = fakes.table(20, seed=7)
    with pytest.raises(ValueError, match="the table has no column 'size', 'site'"):
        on(frame[["case", "dx"]])
    with pytest.raises(ValueError, match="the table has no rows"):
        on(frame.iloc[:0])
    with pytest.raises(ValueError, match="classes of the run"):
        on(frame, aliases={"ugly": "worst"})
    with pytest.raises(ValueError, match="has no column 'sex'"):
        on(frame, subgroups=["sex"])


def test_training_cases_are_reported_as_duplicates(on: Evaluate, fakes: ModuleType) -> None:
    frame = fakes.table(64, seed=0).iloc[:10]
    found = on(frame)
    assert {one.what for one in found.duplicates} == {"name", "name of the patient", "all columns that the model reads"}
    assert {one.case for one in found.duplicates} == set(frame["case"])
    assert found.sentences()[0].startswith("10 of 10 cases resemble training cases too much")
    # The names alone are in the run's folder.
    found = on(frame, training=False)
    assert {one.what for one in found.duplicates} == {"name", "name of the patient"}
    assert found.unreached == "that was not asked for"
    assert [(one.name, one.n_reference) for one in found.shifts] == [("size", 0)]
    assert np.isnan(found.shifts[0].p)
    assert on(frame.drop(columns=["case", "patient"]), training=False).duplicates == ()


def test_unreachable_training_cases_have_a_reason(trained: Path, fakes: ModuleType, tmp_path: Path) -> None:
    out, frame = tmp_path / "run", fakes.table(20, seed=7)
    shutil.copytree(trained, out)
    packed = read_json(out / folder.SETTINGS)
    for data, said in (
        ({"data_seed": 5}, "they changed since: its modalities"),
        ({"n": "many"}, "cannot be read"),
    ):
        write_json(out / folder.SETTINGS, packed | {"data": data})
        found = evaluate(out, frame, device="cpu", n_resamples=0)
        assert said in found.unreached
        assert "not tested" in " ".join(found.sentences())
        assert found.scores is not None
    # Nor does the folder hold a row of them.
    content = b"".join(path.read_bytes() for path in trained.iterdir())
    assert f"{fakes.table(64, seed=0)['size'][0]:.6f}".encode() not in content


def test_several_runs_and_a_shared_run_are_evaluated(trained: Path, fakes: ModuleType, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "seed1")
    frame = fakes.table(20, seed=7)
    both = evaluate([trained, tmp_path / "seed1"], frame, device="cpu", n_resamples=0)
    alone = evaluate(trained, frame, device="cpu", n_resamples=0)
    assert both.internal is not None
    assert both.locked == ensemble.load([trained, tmp_path / "seed1"]).locked
    np.testing.assert_allclose(both.cases["prob_bad"], alone.cases["prob_bad"], atol=1e-12)
    sharing.share(trained, tmp_path / "shared")
    shared = evaluate(tmp_path / "shared", frame, device="cpu", n_resamples=0)
    assert shared.internal is None
    assert shared.changes == {}
    assert "its folder has no predictions of it" in " ".join(shared.notes)
    assert "does not say which cases it was trained on" in shared.unreached
    pd.testing.assert_frame_equal(shared.cases, alone.cases)


def test_command_writes_metrics_and_cases(
    trained: Path, fakes: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, out = tmp_path / "other.csv", tmp_path / "out"
    frame = fakes.table(40, seed=7).rename(columns={"dx": "diagnosis", "size": "diameter"})
    frame["diagnosis"] = frame["diagnosis"].replace("bad", "mel")
    frame.to_csv(table, index=False)
    command = [
        "evaluate",
        str(trained),
        "--table",
        str(table),
        "--device",
        "cpu",
        "--out",
        str(out),
        "--label",
        "diagnosis",
    ]
    renamed = ["--rename", "diameter=size", "--alias", "mel=bad"]
    assert main([*command, *renamed]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "the run's test set" in printed
    assert f"The results are in {out}" in printed
    numbers = read_json(out / RESULT)
    assert numbers["labels"]["of_class"] == {"good": 20, "bad": 20}
    cases = pd.read_csv(out / CASES)
    assert set(cases["true"]) == {"good", "bad"}
    # Again, without the names: the hints are flags.
    assert main(command) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "given by --alias mel=good" in printed
    assert "no column 'size'" in printed
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    assert "another folder by --out" in complaint([*command, "--out", str(tmp_path / "full")], capsys)
    assert "--alias expects two names with = between" in complaint([*command, "--alias", "mel"], capsys)
