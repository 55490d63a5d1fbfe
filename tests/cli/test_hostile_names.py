"""Names that are markup, formulas or columns of a result, and options that must fail before a folder is made."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from helpers.commands import complaint
from mmfusion.cli import main
from mmfusion.experiments import folder
from mmfusion.experiments.devices import pick_device
from mmfusion.experiments.spreadsheet import read_csv

WORDS = (
    "run --model tabular --dataset table --table some.csv --label grade --epochs 1 --batch-size 16 --device cpu "
    "--set train.resamples=10 --set run.references=false --set run.robustness=false --out run"
)
RUN = WORDS.split()


def table(n: int = 48, **columns: list[str]) -> pd.DataFrame:
    """A number that says something of the classes ``[/b]`` and ``=1+1``."""
    label = np.arange(n) % 2
    ages = np.random.default_rng(0).normal(size=n) + label
    return pd.DataFrame({"age": ages, "grade": np.where(label, "[/b]", "=1+1")} | columns)


@pytest.mark.slow
@pytest.mark.parametrize(("group", "case"), [("label", "missing"), ("prob_[/b]", "outside"), ("split", "part")])
def test_columns_named_like_result_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    groups, cases = [f"g{i // 2}" for i in range(48)], [f"-c{i}" for i in range(48)]
    frame = table()
    frame[group], frame[case], frame["fold"] = groups, cases, 1
    frame.to_csv("some.csv", index=False)
    assert main([*RUN, "--group", group, "--set", f"data.id={case}"]) == 0
    assert main(["predict", "run", "--table", "some.csv", "--out", "a.csv"]) == 0
    assert main(["predict", "run", "--table", "some.csv", "--out", "b.csv", "--formulas"]) == 0
    names = [case, group] if group == "split" else ["id", "group"]
    plain = pd.read_csv("b.csv", keep_default_na=False)
    classes = [f"{kind}_{name}" for kind in ("prob", "calibrated") for name in ("=1+1", "[/b]")]
    assert list(plain.columns) == [*names, *classes, "label", "missing", "outside"]
    assert plain[names[0]].tolist() == cases
    assert plain[names[1]].tolist() == groups
    assert set(plain["label"]) == {"=1+1", "[/b]"}
    escaped = pd.read_csv("a.csv", keep_default_na=False)
    assert escaped[names[0]].tolist() == [f"'{name}" for name in cases]
    assert set(escaped["label"]) == {"'=1+1", "[/b]"}
    back, texts = read_csv("a.csv").fillna(""), pd.read_csv("b.csv", dtype=str, keep_default_na=False)
    assert list(back.columns) == list(texts.columns)
    assert back.to_numpy().tolist() == texts.to_numpy().tolist()


@pytest.mark.slow
def test_subgroup_column_named_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    table(id=["m", "f", "f"] * 16).to_csv("some.csv", index=False)
    assert main([*RUN, "--set", 'data.subgroups=["id"]']) == 0
    found = pd.read_csv(Path("run", folder.SUBGROUPS))
    assert list(found.columns) == ["id", "id_"]
    assert set(found["id_"]) == {"m", "f"}
    assert found["id"].nunique() == len(found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("--set train.metric=accuracy_7", "train.metric has 'accuracy_7', which is not defined for 2 classes"),
        ("--set train.metric=accuracy_7+auc", "train.metric has 'accuracy_7'"),
        ('--set data.classes=["[/b]","=1+1","[/b]"]', "has repeated classes: ['[/b]']"),
        ("--seed 1180591620717411303424", "--seed expects int from 0 to 4294967295"),
        ("--set model.label_smoothing=2", "model.label_smoothing expects float from 0 to 1, got 2"),
        ("--size 100000", "--size expects int from 1 to 8192 or 2 to 3 values"),
        ("--set data.fractions=[nan,1,1]", "data.fractions expects 3 values, a list of float above 0 to below 1"),
        ("--set data.clip=[1]", "data.clip expects 2 values"),
        ("--set train.sampler=weighted --set train.sampler_options.power=1000", "power expects float from -10 to 10"),
        ("--set train.sampler=weighted --set train.sampler_options.weights=[1,2,3]", "one weight for each of 2"),
        ("--model tabular --set model.dim=-1 --set model.dropout=nan", "model.dim expects int from 1 to 16384, got -1"),
        ("--set model.dim=-1 --set model.dropout=nan", "model.dropout expects float from 0 to below 1, got nan"),
    ],
)
def test_invalid_options_fail_before_creating_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], change: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    table().to_csv("some.csv", index=False)
    assert message in complaint([*RUN, *change.split()], capsys)
    assert not Path("run").exists()


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_table_of_too_few_rows_is_one_line_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], n: int
) -> None:
    monkeypatch.chdir(tmp_path)
    table(n).to_csv("some.csv", index=False)
    assert complaint([*RUN, "--set", 'data.columns=["age"]'], capsys).startswith("mmfusion: error: ")
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dataset", ""], "--dataset expects a name, got ''"),
        (["--dataset", " , "], "--dataset expects a name, got ' , '"),
        (["--model", ""], "unknown model ''; there are: "),
        (["--model", "tiny["], "with closed brackets, got 'tiny['"),
        (["--model", "tiny]"], "unknown model 'tiny]'; did you mean 'tiny'"),
        (["--model", "tiny[]"], "with closed brackets, got 'tiny[]'"),
        (["--model", "tiny[width=4]]"], "with closed brackets, got 'tiny[width=4]]'"),
        (["--model", "tiny[width=4"], "with closed brackets, got 'tiny[width=4'"),
    ],
)
def test_invalid_names_are_one_line_errors(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert message in complaint([*tiny, *words], capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("device", ["tpu", "", "cuda:99", "CPU"])
def test_unknown_device_raises(device: str, fakes: ModuleType) -> None:
    with pytest.raises(ValueError, match="device expects one of auto, cpu, cuda, got"):
        pick_device(device)
