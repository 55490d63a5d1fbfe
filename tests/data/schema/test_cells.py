import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.data.schema.cells import decimal_mark, distinct, one_column, parse_numbers, texts
from mmfusion.data.schema.number_cells import numbers


def frame(*cells, dtype=object):
    return pd.DataFrame({"x": pd.Series(list(cells), dtype=dtype)})


def test_distinct_texts_are_in_first_row_order():
    codes, result = distinct(pd.Series(["b", " a ", "unknown", "a", None, "b  c", "b c"]))
    assert result == ["b", "a", "b c"]
    assert codes.tolist() == [0, 1, -1, 1, -1, 2, 2]


@pytest.mark.parametrize("dtype", ["object", "str", "string", "category"])
def test_texts_of_any_pandas_dtype(dtype):
    column = pd.Series(["b", "a", None, "b"], dtype=dtype)
    codes, result = distinct(column)
    assert [None if code < 0 else result[code] for code in codes] == ["b", "a", None, "b"]
    assert texts(pd.DataFrame({"x": column}), "x") == ["b", "a", None, "b"]


def test_integer_is_one_category_in_any_dtype():
    held = [pd.Series([1, 2]), pd.Series([1.0, 2.0]), pd.Series(["1.0", "2"]), pd.Series([1, "2.00"], dtype=object)]
    assert all(texts(pd.DataFrame({"x": column}), "x") == ["1", "2"] for column in held)
    assert texts(frame(1.5, np.float32(2), "1e3"), "x") == ["1.5", "2", "1e3"]


def test_true_and_one_are_distinct():
    assert texts(frame(True, 1, "True", 1.0), "x") == ["True", "1", "True", "1"]


@pytest.mark.parametrize(
    "cell",
    ["unknown", "UNK", "Na", "nan", "", "  ", "?", "N.A.", "NULL", "not  available", None, math.nan, pd.NA, pd.NaT],
)
def test_missing_cell_spellings(cell):
    assert texts(frame("a", cell, "b"), "x") == ["a", None, "b"]
    assert np.isnan(numbers(frame(1, cell, 3), "x")).tolist() == [False, True, False]


def test_none_is_not_missing():
    assert texts(frame("none", "None", "-"), "x") == ["none", "None", "-"]


def test_custom_missing_cell_spellings():
    assert distinct(pd.Series(["a", "NONE", "-"]), ["none", "-"])[0].tolist() == [0, -1, -1]
    assert numbers(frame(1, 999, 2.5), "x", missing=["999"]).tolist()[::2] == [1, 2.5]
    for dtype in ("object", "str"):
        read = numbers(frame("1", "999", "none", dtype=dtype), "x", missing=["999", "none"])
        assert np.isnan(read).tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("result", "mark"),
    [
        (["1.5", "2"], "."),
        (["1,5", "2"], ","),
        (["0,500", "1,25"], ","),
        (["1,234"], ","),  # told by nothing: a fraction
        (["1,234", "1,234,567"], "."),
        (["1,234", "2,345.6"], "."),
        (["1.234,5", "2"], ","),
    ],
)
def test_decimal_mark_is_inferred(result, mark):
    assert decimal_mark(result) == mark


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=20))
def test_numbers_round_trip_through_text(values):
    written = [repr(value) for value in values]
    # pandas' reading of a number may be off by its last bit.
    same = pytest.approx(values, rel=1e-15, abs=0)
    assert parse_numbers(written).tolist() == same
    assert parse_numbers([text.replace(".", ",") for text in written], ",").tolist() == same
    assert numbers(frame(*written), "x").tolist() == same


@pytest.mark.slow
@given(st.lists(st.text(max_size=6) | st.none(), min_size=1, max_size=20))
def test_texts_and_distinct_agree(cells):
    codes, result = distinct(pd.Series(cells, dtype=object))
    assert len(set(result)) == len(result)
    assert [None if code < 0 else result[code] for code in codes] == texts(frame(*cells), "x")
    alone = [texts(frame(cell), "x")[0] for cell in cells]
    assert alone == texts(frame(*cells), "x")


def test_duplicate_column_raises():
    twice = pd.DataFrame([[1, 2]], columns=["x", "x"])
    with pytest.raises(ValueError, match="2 columns called 'x'"):
        one_column(twice, "x")
