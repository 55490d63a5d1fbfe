"""Comparisons from Python: what is planned, and what a study has."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from torch import nn

import mmfusion as mmf
from mmfusion.api.compare import _judged_by, _launcher, methods_of
from mmfusion.api.study import Study
from mmfusion.comparison import presets, sweep
from mmfusion.experiments.chosen_data import Data
from mmfusion.training.reporter import Silent

QUICK = {"train": {"resamples": 0, "batch_size": 16}, "run": {"robustness": False, "device": "cpu"}}
GATED = mmf.Blueprint(vectors="gated")


def test_methods_of_names_patterns_and_blueprints() -> None:
    methods = methods_of(["concat, mb*", "tip[pretrain=true]", GATED, mmf.Blueprint(dim=8)])
    assert [method.label for method in methods] == [
        *("concat", "mbt", "tip[pretrain=true]"),
        *("blueprint.toml", "blueprint_2.toml"),
    ]
    assert methods[3].changes == {"model": {"blueprint": GATED.to_dict()}}
    assert [method.label for method in methods_of({"mine": GATED})] == ["mine.toml"]
    assert [method.label for method in methods_of("late")] == ["late"]


def test_invalid_models_raise() -> None:
    with pytest.raises(ValueError, match="got a module: register a function that builds it"):
        methods_of([nn.Linear(1, 1)])  # type: ignore[list-item]  # a module is refused
    with pytest.raises(ValueError, match=r"models expects a name, got \[\]"):
        methods_of([])


def test_several_presets_merge_metrics() -> None:
    judged_by = _judged_by([presets.load("paper", name) for name in ("derm7pt", "men")], None)
    assert judged_by["reference"] == "concat"
    assert {"g_mean", "accuracy_Grade_1"} <= set(judged_by["metrics"].split(","))


def test_launchers_by_arguments() -> None:
    assert isinstance(_launcher(None, None, None, None, Path()), sweep.Here)
    several = _launcher(None, None, 2, None, Path())
    assert isinstance(several, sweep.Processes)
    assert (several.jobs, several.processes) == (2, 1)
    with pytest.raises(ValueError, match=r"launcher_options=\.\.\. needs a cluster: add launcher='slurm'"):
        _launcher("processes", {"timeout_min": 3}, None, None, Path())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": []}, r"data expects one dataset, or several of different names, got \[\]"),
        ({"data": pd.DataFrame({"x": [1]})}, r"data expects what mmfusion\.read_table or .* got DataFrame"),
        ({"settings": {"train": None}}, r"^train is a section: set one of its keys, as in train\.key=\.\.\., got None"),
        ({"settings": ["train"]}, "settings expects a table of options or none, got \\['train'\\]"),
        ({"plugins": "plugin.py"}, "plugins expects a list of str or none, got 'plugin.py'"),
        ({"data": [Data("table"), Data("table")]}, r"got \['table', 'table'\]: compare each table in a study of its"),
        ({"models": None}, "compare expects models, or a preset"),
        ({"parity": True}, r"parity=True needs a preset, as in preset='paper'"),
        ({"seeds": 0}, "seeds expects a number of seeds from 1 on, or a list of them, got 0"),
        ({"epochs": 0}, "^epochs expects int from 1 to 100000, got 0"),
        ({"reference": "tinny"}, r"^reference expects one of the methods that run \(tiny\), got 'tinny'"),
        ({"references": "table", "settings": {"run.references": False}}, "leave it out for references='table'"),
    ],
)
def test_invalid_arguments_raise(fakes: ModuleType, tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    given = {"models": "tiny", "data": "tiny", "references": "none", "out": tmp_path, "verbose": False, **arguments}
    with pytest.raises(ValueError, match=message):
        mmf.compare(given.pop("models"), given.pop("data"), **given)
    assert list(tmp_path.iterdir()) == []


def test_existing_table_raises(fakes: ModuleType, tmp_path: Path) -> None:
    mine = tmp_path / "table.csv"
    mine.write_text("case,diagnosis\n1,nevus\n")
    with pytest.raises(FileExistsError, match=r"table\.csv would be replaced .* choose another folder \(out=\.\.\.\)$"):
        mmf.compare("tiny", "tiny", references="none", out=tmp_path, verbose=False)
    assert mine.read_text() == "case,diagnosis\n1,nevus\n"
    assert list(tmp_path.iterdir()) == [mine]


@pytest.mark.slow
def test_study_has_runs_and_table(fakes: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"seeds": 2, "epochs": 1, "settings": QUICK, "out": tmp_path / "study"}
    study = mmf.compare(["tiny", "tiny[width=4]"], "tiny", reference="tiny", **options)
    assert "The table is in" in capsys.readouterr().out
    assert list(study.runs) == ["tiny", "tiny[width=4]"]
    assert [run.settings.run.seed for run in study.runs["tiny"]] == [0, 1]
    ranking = study.ranking
    assert ranking["auc"].is_monotonic_decreasing
    assert ranking["runs"].tolist() == [2, 2, 2, 2]
    assert ranking["reference_row"].sum() == 2
    assert not ranking.loc[("tiny", "tiny")]["reference_row"]
    assert repr(study).startswith(f"Study('{tmp_path / 'study'}': 4 of 4 runs finished)\n")
    assert "<table" in study._repr_html_()
    assert study.ensemble("tiny").folders == tuple(run.folder for run in study.runs["tiny"])
    with pytest.raises(ValueError, match=r"method expects one of tiny, tiny\[width=4\], got 'tinny'"):
        study.ensemble("tinny")
    page = study.report(tmp_path / "page", verbose=False)
    assert page.parent == tmp_path / "page"
    tests = pd.read_csv(tmp_path / "page" / "tests.csv")
    assert set(tests["reference"]) == {"tiny"}
    again = mmf.compare(["tiny", "tiny[width=4]"], "tiny", reference="tiny", **options, verbose=False)
    assert isinstance(again, Study)
    pd.testing.assert_frame_equal(again.ranking, ranking)
    assert mmf.report(tmp_path / "study", False).parent == tmp_path / "study" / "report"


@pytest.mark.slow
def test_failing_run_raises_with_partial_study(fakes: ModuleType, tmp_path: Path) -> None:
    options = {"epochs": 1, "settings": QUICK, "out": tmp_path, "references": "none", "verbose": Silent()}
    with pytest.raises(sweep.SweepError, match="1 of 2 runs failed") as failed:
        mmf.compare("tiny,tiny[explode_after=1]", "tiny", **options)
    study = failed.value.study
    assert len(study.ranking) == 1
    assert [outcome.failure is None for outcome in study.outcomes] == [True, False]
