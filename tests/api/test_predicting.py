"""Predictions from Python: the file that they are written to, and what is said of a table."""

from pathlib import Path

import pytest

import mmfusion
from helpers.odd_cases import new_cases, reader_of
from helpers.untrained_runs import write
from mmfusion.data.images.photographs import ImageSource
from mmfusion.experiments import spreadsheet

LOCKED = {"threshold": 0.49, "temperature": 1.7}


@pytest.mark.slow
def test_predict_writes_a_file_without_formulas(tmp_path: Path) -> None:
    """The file of the command: a text that a spreadsheet program would compute has an apostrophe before it."""
    run = mmfusion.load(write(tmp_path / "run", "tabular_mlp", reader_of({}), locked=LOCKED))
    table, out, other = new_cases(), tmp_path / "out.csv", tmp_path / "other.csv"
    table["case"] = ["=1+1", *table["case"][1:]]
    returned = run.predict(table, out=out, say=str)
    assert out.read_bytes().splitlines()[1].startswith(b"'=1+1,")
    written = spreadsheet.read_csv(out)
    assert list(written["case"]) == list(returned["case"])
    assert written["prob_bad"].astype(float).to_numpy() == pytest.approx(returned["prob_bad"].to_numpy(), abs=1e-15)
    with pytest.raises(FileExistsError, match=r"exists already: choose another file by out=\.\.\."):
        run.predict(table, out=out)
    run.predict(table, out=other, formulas=True, say=str)
    assert other.read_bytes().splitlines()[1].startswith(b"=1+1,")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:column")
def test_modality_that_no_case_has_is_named(tmp_path: Path) -> None:
    reader = reader_of({"derm": ImageSource("photo", (16, 16))})
    run = mmfusion.load(write(tmp_path / "run", "concat", reader, locked=LOCKED))
    table, said = new_cases().drop(columns="photo"), []
    run.predict(table, missing_images="absent", say=said.append)
    assert said[-1] == "all cases lack derm: the table has none of its columns"
    with pytest.warns(UserWarning, match="all cases lack derm"):
        run.predict(table, missing_images="absent")
