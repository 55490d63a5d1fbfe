"""A table of one's own, from the check to the predictions."""

from pathlib import Path

import pandas as pd
import pytest

from helpers import trees
from mmfusion.cli import main
from mmfusion.data.datasets.check import check


def test_check_of_own_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = trees.own_table(tmp_path)
    words = ["check", "--table", f"{root}/table.csv", "--label", "diagnosis", "--group", "patient", "--fast"]
    assert main([*words, "--images", "photo"]) == 0
    assert main([*words, "--set", 'images=["phot"]']) == 1
    assert "no column 'phot'" in capsys.readouterr().out
    assert main(["check"]) == 2
    assert "check expects the NAME of a dataset, or --table FILE --label COLUMN" in capsys.readouterr().err


@pytest.mark.slow
def test_run_and_predict_on_own_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = trees.own_table(tmp_path / "own")
    monkeypatch.chdir(tmp_path / "own")
    words = (
        "run --model concat --table table.csv --label diagnosis --images photo --group patient --test part --size 16"
    )
    shorter = "--epochs 1 --device cpu --set train.resamples=20 --set run.cache_gb=0 --out run"
    assert main([*words.split(), *shorter.split()]) == 0
    out = capsys.readouterr().out
    assert "ordinal      3 levels: I, II, III" in out
    assert "photo       images of column 'photo', 3 x 16x16" in out
    new = pd.read_csv(root / "table.csv").drop(columns=["diagnosis", "part"])[:5]
    new.to_csv("new.tsv", sep="\t", index=False)
    assert main(["predict", "run", "--table", "new.tsv", "--root", ".", "--out", "out.csv", "--device", "cpu"]) == 0
    found = pd.read_csv("out.csv")
    kinds, names = ("prob", "calibrated"), ("benign", "malignant", "unsure")
    classes = [f"{kind}_{name}" for kind in kinds for name in names]
    assert list(found.columns) == ["id", "patient", *classes, "label", "missing", "outside"]
    assert found["patient"].tolist() == ["p0", "p0", "p1", "p1", "p2"]


@pytest.mark.slow
def test_check_of_real_ham10000_subset(real_ham10000: Path) -> None:
    report = check("ham10000", real_ham10000)
    assert report.faults == ()
    assert report.lines[:2] == ("images: 4787, published 10015", "lesions: 4787, published 7470")
    assert any("part of the published data" in line for line in report.lines)
