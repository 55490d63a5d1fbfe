"""Predictions from the command line."""

from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from helpers.commands import complaint
from mmfusion.cli import main
from mmfusion.experiments import folder


@pytest.mark.slow
def test_predict_writes_predictions(
    tiny: list[str], fakes: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(tiny) == 0
    table, out = tmp_path / "new.csv", tmp_path / "out.csv"
    fakes.table(64, seed=2).drop(columns="dx").to_csv(table, index=False)
    arguments = ["predict", str(tmp_path / "run"), "--table", str(table), "--root", str(tmp_path), "--out", str(out)]
    assert main(arguments) == 0
    found = pd.read_csv(out)
    wanted = pd.read_csv(tmp_path / "run" / folder.PREDICTIONS).query("part == 'test'")
    assert list(found["case"]) == list(wanted["id"])
    assert found["prob_bad"].to_numpy() == pytest.approx(wanted["prob_bad"].to_numpy(), abs=1e-12)
    capsys.readouterr()
    assert "exists already: choose another file by --out" in complaint(arguments, capsys)
    assert "no table" in complaint([*arguments, "--table", "nowhere.csv", "--out", str(tmp_path / "b.csv")], capsys)
    assert not (tmp_path / "b.csv").exists()
