"""``mmfusion explain``."""

from pathlib import Path
from types import ModuleType

import pytest

from helpers import explanations
from helpers.commands import complaint
from mmfusion.cli import main

QUICK = ["--cohort", "3", "--faithfulness", "0", "--regions", "0", "--device", "cpu"]


@pytest.mark.slow
def test_sheets_of_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = explanations.cases(tmp_path)
    frame.to_csv(tmp_path / "other.csv", index=False)
    place = explanations.run(tmp_path / "run", frame, dim=8)
    words = ["explain", str(place), "--table", str(tmp_path / "other.csv"), "--missing-images", "absent", *QUICK]
    assert main([*words, "--cases", "worst,c3", "--n", "2", "--gap"]) == 0
    out = place / "explanation-other"
    shown = capsys.readouterr().out
    assert "explanation.html" in shown
    assert f"{out / 'gap.html'}, after training alone: the folder does not say how it began" in shown
    assert {"gap.html", "gap.png", "gap.csv"} < {path.name for path in out.iterdir()}
    names = [path.name for path in sorted((out / "sheets").iterdir())]
    assert names[0] == "01-c3.html"
    assert len(names) == 2
    assert "near: 'c0'" in complaint([*words, "--cases", "c00"], capsys)
    assert "--class expects one of 'good', 'bad', got 'ugly'" in complaint([*words, "--class", "ugly"], capsys)
    frame.drop(columns="dx").to_csv(tmp_path / "new.csv", index=False)
    words[3] = str(tmp_path / "new.csv")
    assert "--cases worst needs labels" in complaint([*words, "--cases", "worst"], capsys).replace("=", " ")


@pytest.mark.slow
def test_a_run_of_other_code_and_several_runs(
    trained: Path, fakes: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["explain", str(trained), "--n", "1", "--out", str(out), *QUICK]) == 0
    text = (out / "explanation.html").read_text()
    assert "There are none: the model is Tiny, and not a FusionModel" in text
    assert "explain takes one run, got 2" in complaint(["explain", str(trained), str(trained)], capsys)
