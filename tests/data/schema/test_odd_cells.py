"""Cells that would be read as something else than they are."""

import numpy as np
import pandas as pd
import pytest

from mmfusion.data.schema.table_schema import TableSchema


@pytest.mark.parametrize("word", ["True", "false", True, False])
def test_truth_value_among_numbers_is_missing(word: object) -> None:
    cells = [50.5, 47.25, 61.0, 55.5] * 10
    frame = pd.DataFrame({"x": pd.Series([*cells, word], dtype=object), "y": np.arange(41.0)})
    schema = TableSchema.infer(frame)
    (column,) = [item for item in schema.numerical if item.name == "x"]
    assert (column.low, column.high) == (47.25, 61.0)
    assert np.isnan(column.encode(frame)[-1])
    assert any("row 40 counts as missing, no number" in str(remark) for remark in schema.remarks)
    # Alone in new rows too.
    assert np.isnan(column.encode(pd.DataFrame({"x": pd.Series([word], dtype=object)}))).all()


@pytest.mark.parametrize("price", ["${:.2f}", "$ {:.2f}", "€{:.1f}", "{:.2f} $", "£{:,.2f}"])
def test_currency_is_a_unit(price: str) -> None:
    amounts = np.random.default_rng(0).uniform(1000, 2000, 60).round(2)
    frame = pd.DataFrame({"x": [price.format(amount) for amount in amounts]})
    (column,) = TableSchema.infer(frame).numerical
    np.testing.assert_allclose(column.values(frame), amounts, atol=0.05)
    assert column.suffix in "$€£"


@pytest.mark.parametrize("sentinel", ["9999-12-31", "0001-01-01", "1700-01-01", "2999-01-01"])
def test_sentinel_date_is_missing(sentinel: str) -> None:
    dates = [f"{1990 + i % 30}-03-{i % 28 + 1:02d}" for i in range(60)]
    frame = pd.DataFrame({"x": [*dates, sentinel, sentinel]})
    (column,) = TableSchema.infer(frame).numerical
    assert (column.low, column.high) == (1990, 2020)
    encoded = column.encode(frame)
    assert np.isnan(encoded[-2:]).all()
    assert np.abs(encoded[:-2]).max() < 3


def test_integers_beyond_float_are_identifiers() -> None:
    frame = pd.DataFrame({"x": [str(10**17 + i) for i in range(60)], "y": np.arange(60.0)})
    schema = TableSchema.infer(frame)
    assert [item.name for item in schema.numerical] == ["y"]
    assert "16 digits or more" in schema.describe()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "cells",
    [
        [complex(i % 3, 1) for i in range(60)],
        np.where(np.arange(60) % 9, np.arange(60), np.longdouble("1e400")).astype(np.longdouble),
    ],
    ids=["complex", "long"],
)
def test_other_number_types_give_no_warning(cells: object) -> None:
    TableSchema.infer(pd.DataFrame({"x": cells, "y": np.arange(60.0)}))
