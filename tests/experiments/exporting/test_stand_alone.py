"""The exported script gives the numbers of ``mmfusion predict`` from files and a table, without mmfusion and torch."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mmfusion
from helpers.odd_cases import new_cases, photographs, reader_of
from helpers.untrained_runs import write
from mmfusion.cli import main
from mmfusion.data.images.photographs import ImageSource
from mmfusion.experiments import spreadsheet

stand_alone = pytest.importorskip("mmfusion.experiments.exporting.stand_alone")

WITHOUT = """\
import sys
sys.path.insert(0, {folder!r})
for name in ("torch", "mmfusion", "timm", "sklearn", "scipy"):
    sys.modules[name] = None
import predict
for rows, out in ((1, "1.csv"), (2, "2.csv"), (7, "7.csv")):
    sys.argv = ["predict.py", f"table{{rows}}.csv", "--root", "images", "--out", out, "--missing-images", "absent"]
    code = predict.main()
    if code:
        sys.exit(code)
"""
"""The script in a process without what it must not need; its only entry is the command line."""


def compared(run: Path, work: Path, frame: pd.DataFrame) -> None:
    """1, 2 and 7 cases by the script and by ``mmfusion predict``."""
    assert main(["export", str(run), "--out", str(work / "exported")]) == 0
    for n in (1, 2, 7):
        frame.iloc[:n].to_csv(work / f"table{n}.csv", index=False)
    code = WITHOUT.format(folder=str(work / "exported"))
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=work, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    loaded = mmfusion.load(run, "cpu")
    for n in (1, 2, 7):
        found = spreadsheet.read_csv(work / f"{n}.csv")
        table = pd.read_csv(work / f"table{n}.csv", dtype=str, na_filter=False)
        with pytest.warns(UserWarning, match="count"):
            expected = loaded.predict(table, work / "images", missing_images="absent")
        assert list(found.columns) == [*expected.columns[:-2]]
        assert list(found["case"]) == list(expected["case"])
        assert list(found["label"]) == list(expected["label"])
        numbers = list(expected.columns[1:-3])
        np.testing.assert_allclose(found[numbers].astype(float), expected[numbers], rtol=0, atol=1e-5)
    assert expected["prob_bad"].nunique() == 7


@pytest.mark.slow
def test_script_matches_predict(tmp_path: Path) -> None:
    photographs(tmp_path / "images")
    reader = reader_of({"derm": ImageSource("photo", (16, 16))})
    run = write(tmp_path / "run", "concat", reader, locked={"threshold": 0.49, "temperature": 1.7})
    compared(run, tmp_path, new_cases())


@pytest.mark.slow
def test_several_photographs_per_case(tmp_path: Path) -> None:
    photographs(tmp_path / "images")
    (tmp_path / "images" / "more").mkdir()
    for name in ("grey.png", "deep.png"):
        shutil.copy(tmp_path / "images" / name, tmp_path / "images" / "more")
    reader = reader_of({"derm": ImageSource("photo", (16, 16), bag=4)})
    run = write(tmp_path / "run", "film", reader, locked={"threshold": 0.49, "temperature": 1.7})
    cells = ["more/*.PNG", "A.PNG; turned.jpg;gone.png", "deep.png", "**/g*.png;palette.png", "grey.png;", "", "A.PNG"]
    compared(run, tmp_path, new_cases().assign(photo=cells))


@pytest.mark.parametrize(
    ("table", "out", "message"),
    [
        ("case,age\na,3\n", "made/p.csv", "error: no folder made: see --out"),
        ("case,age\na,3\n", "cases.csv", "error: cases.csv exists already: see --out"),
        ("case,age\n", "p.csv", "error: cases.csv has a header and no rows"),
        ("", "p.csv", "error: cases.csv is empty"),
        (None, "p.csv", "error: no table cases.csv"),
    ],
)
def test_invalid_arguments_are_one_line_errors(
    table: str | None,
    out: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if table is not None:
        Path("cases.csv").write_text(table)
    monkeypatch.setattr(sys, "argv", ["predict.py", "cases.csv", "--out", out])
    assert stand_alone.main() == 2
    assert capsys.readouterr().err.startswith(message)
