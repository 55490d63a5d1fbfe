import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.data.schema.number_cells import notation_of, numbers, quoted, read_column
from mmfusion.data.schema.numerals import Notation


def series(*cells, dtype=object):
    return pd.Series(list(cells), dtype=dtype)


def frame(*cells, dtype=object):
    return pd.DataFrame({"x": series(*cells, dtype=dtype)})


@pytest.mark.parametrize(
    ("cells", "decimal", "expected"),
    [
        (["1.5", " 2 ", "-3e2", "+4"], ".", [1.5, 2, -300, 4]),
        (["1,234.5", "1,000,000", "7"], ".", [1234.5, 1e6, 7]),
        (["1,5", "1.234,5", "2.5", "3"], ",", [1.5, 1234.5, 2.5, 3]),
        (["True", "false", True, False], ".", [1, 0, 1, 0]),
        ([1, 2.5, np.float32(0.5), "3"], ".", [1, 2.5, 0.5, 3]),
    ],
)
def test_numbers_are_parsed(cells, decimal, expected):
    assert read_column(series(*cells), Notation(decimal)).values.tolist() == expected


@pytest.mark.parametrize("dtype", ["int64", "float32", "Int64", "Float64", "bool", "boolean", "uint8"])
def test_numbers_of_any_pandas_dtype(dtype):
    assert numbers(frame(1, 0, dtype=dtype), "x").tolist() == [1, 0]


def test_non_numbers_raise_with_their_rows():
    with pytest.raises(ValueError, match=r"'x' expects numbers, but row 1 has 'forty'; row 3 has 'soon': correct"):
        numbers(frame("40", "forty", "", "soon"), "x")
    with pytest.raises(ValueError, match="row 9 has 'a'; and 5 more"):
        numbers(frame(*["a"] * 15), "x")
    with pytest.raises(ValueError, match=r"row 0 has '2020-01-01"):
        numbers(pd.DataFrame({"x": pd.to_datetime(["2020-01-01"])}), "x")
    assert np.isnan(numbers(frame("40", "forty"), "x", strict=False)).tolist() == [False, True]


@pytest.mark.parametrize("cell", ["inf", "-inf", "1e999", "-1E400", "3.5e38", "9" * 60, "Infinity"])
def test_numbers_beyond_range_are_missing(cell):
    reading = read_column(series("1", cell, "2"), Notation())
    assert np.isnan(reading.values).tolist() == reading.beyond.tolist() == [False, True, False]
    assert not reading.invalid.any()


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1e39, 10**60, 10**400, -(10**400), np.float64(1e300)])
def test_python_numbers_beyond_range_are_missing(value):
    for cells in ([1, value, 2.5], [1, value, "2,5"], ["x", value]):
        reading = read_column(series(*cells), Notation(","))
        assert reading.beyond.tolist()[1]
        assert math.isnan(reading.values[1])
    assert read_column(series(1.0, math.inf, dtype=float), Notation()).beyond.tolist() == [False, True]
    assert read_column(series(3.4e38, -3.4e38), Notation()).values.tolist() == [3.4e38, -3.4e38]


def test_spreadsheet_errors_are_missing():
    reading = read_column(series("1", "#DIV/0!", "#value!", "abc"), Notation())
    assert reading.errors.tolist() == [False, True, True, False]
    assert reading.invalid.tolist() == [False, False, False, True]
    assert np.isnan(numbers(frame("1", "#REF!"), "x")).tolist() == [False, True]


def test_missing_percent_sign_is_not_guessed():
    explicit = notation_of(series("12%", "30 %", "0.5"))
    assert explicit == Notation(suffix="%", percent=True)
    reading = read_column(series("12%", "30", "0.5", 0.5, 0, "0.5%"), explicit)
    assert reading.values.tolist()[:2] == [12, 30]
    assert reading.invalid.tolist() == [False, False, True, True, False, False]
    # Most are shares: the few signs are not guessed either.
    assert notation_of(series("0.1", "0.2", "0.3", "12%")) == Notation()
    assert notation_of(series("10", "20", "0.3", "12%")) == Notation(suffix="%")


def test_thousands_separators():
    german = series("1.500", "2.250.000", "750,5", 1.5)
    explicit = notation_of(german)
    assert explicit == Notation(",", ".")
    assert read_column(german, explicit).values.tolist() == [1500, 2250000, 750.5, 1.5]
    assert notation_of(series("1.500", "900")) == Notation(",", ".")
    # Fractions of three digits: nothing says otherwise.
    assert notation_of(series("1.025", "1.010", "1.005")) == Notation()
    assert notation_of(series("1.025", "90")) == Notation()
    assert notation_of(series(1.025, 900)) == Notation()


@given(st.lists(st.one_of(st.text(max_size=8), st.floats(), st.integers(), st.booleans(), st.none()), min_size=1))
def test_cells_are_missing_numbers_or_invalid(cells):
    column = series(*cells)
    reading = read_column(column, notation_of(column))
    assert np.isfinite(reading.values[~np.isnan(reading.values)]).all()
    assert not (reading.beyond & reading.invalid).any()
    assert np.isnan(reading.values[reading.beyond | reading.invalid | reading.errors]).all()
    assert not reading.bounds[np.isnan(reading.values)].any()


def test_quoted_cells_are_ordered_by_count():
    assert quoted(series("a", "b", "a", None)) == "'a' (2x), 'b' (1x)"
    assert quoted(series(*"abcdefg")) == "'a' (1x), 'b' (1x), 'c' (1x), 'd' (1x), 'e' (1x) and 2 more"
    assert quoted(series("x" * 30)) == f"'{'x' * 21}...' (1x)"
