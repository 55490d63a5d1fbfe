from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.training.spreadsheet import csv, escape, read_csv, unescape


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@x", "\tx", "\rx", "\nx", "'=x", "''@x", "-1+cmd"])
def test_formulas_are_escaped(text: str) -> None:
    assert escape(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "x", "-5", "+3.5", "'x", "a=b", "1-2"])
def test_other_texts_stay(text: str) -> None:
    assert escape(text) == text


@given(st.text("=+-@'\t\r\n a1", max_size=6))
def test_reading_back_gives_the_original(text: str) -> None:
    assert unescape(escape(text)) == text


def test_a_table(tmp_path: Path) -> None:
    frame = pd.DataFrame({"=id": ["=1+1", "'@x", "b"], "value": [-0.5, 1.0, -2.0]})
    text = csv(frame)
    assert text == "'=id,value\n'=1+1,-0.5\n''@x,1.0\nb,-2.0\n"
    (tmp_path / "a.csv").write_text(text)
    pd.testing.assert_frame_equal(read_csv(str(tmp_path / "a.csv")), frame)
    assert csv(frame, formulas=True) == "=id,value\n=1+1,-0.5\n'@x,1.0\nb,-2.0\n"
