import math
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.experiments.spreadsheet import escape, read_csv, to_csv, unescape, write_rows


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+x", "-x", "@x", "\tx", "\rx", "\nx", "'=x", "''@x", "-1+cmd", "-1_0", "-inf", "\uff1d1"],
)
def test_formulas_are_escaped(text: str) -> None:
    assert escape(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "x", "-5", "+3.5", "-1e-05", "-.5", "'x", "a=b", "1-2", "007"])
def test_other_texts_are_unchanged(text: str) -> None:
    assert escape(text) == text


@given(st.text("=+-@'\t\r\n a1,\"", max_size=6))
def test_escape_round_trip(text: str) -> None:
    assert unescape(escape(text)) == text


@given(st.lists(st.text("=+-@'\t\r\n a01,\";#", min_size=1, max_size=6), min_size=2, max_size=6))
def test_file_round_trip(texts: list[str]) -> None:
    name, *cells = texts
    frame = pd.DataFrame({name: cells, "": cells})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.csv")
        path.write_bytes(to_csv(frame).encode())
        found = read_csv(path)
    assert list(found.columns) == [name, ""]
    assert found.to_numpy().tolist() == [[cell, cell] for cell in cells]


def test_table_round_trip_with_formulas(tmp_path: Path) -> None:
    frame = pd.DataFrame({"=id": ["=1+1", "'@x", "007"], "value": [-0.5, math.nan, -1e-5], "n": [-1, 2, 3]})
    text = to_csv(frame)
    assert text == "'=id,value,n\n'=1+1,-0.5,-1\n''@x,,2\n007,-1e-05,3\n"
    (tmp_path / "a.csv").write_text(text)
    back = read_csv(tmp_path / "a.csv")
    assert back["=id"].tolist() == ["=1+1", "'@x", "007"]
    assert back["value"].tolist() == ["-0.5", None, "-1e-05"]
    assert to_csv(frame, formulas=True) == "=id,value,n\n=1+1,-0.5,-1\n'@x,,2\n007,-1e-05,3\n"


@pytest.mark.parametrize("values", [[0.1 + 0.2, 1e-300, 1 / 3], [1, 2**53, -3], [True, False, True], ["a", "b", "c"]])
def test_numbers_are_written_as_pandas_does(values: list[object]) -> None:
    frame = pd.DataFrame({"a": values, "b": values})
    assert to_csv(frame) == frame.to_csv(index=False, lineterminator="\n")


def test_write_rows_values() -> None:
    assert write_rows([["a", "b"], [None, -1.5], ["=x", math.nan]]) == "a,b\n,-1.5\n'=x,\n"
