import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.data.schema.columns import NumericalColumn
from mmfusion.data.schema.ranges import find_outside, outside_columns, outside_notes
from mmfusion.data.schema.table_schema import TableSchema
from mmfusion.data.schema.usual_values import usual

TRAIN = pd.DataFrame({"age": [20.0, 40.0, 80.0], "size": [1.0, 2.0, 3.0]})


def schema(**options: object) -> TableSchema:
    return TableSchema.fit(TRAIN, numerical=("age", "size"), options={"age": options})


@pytest.mark.parametrize("value", [1e6, 1e12, 1e30, -1e12, 140.001, -40.001])
def test_far_out_of_range_number_is_missing_and_reported(value):
    new = pd.DataFrame({"age": [50.0, value, np.nan], "size": [2.0, 2.0, 2.0]}, index=["a", "b", "c"])
    column = schema().transform(new).numerical[:, 0]
    assert column.isnan().tolist() == [False, True, True]
    (result,) = find_outside(schema(), new)
    assert (result.column.name, result.positions, result.rows, result.values) == ("age", (1,), ("b",), (value,))
    said = f"column 'age': 1 value far outside the training range of 20 to 80 counts as missing: {value:g} in row b"
    assert str(result) == said
    assert outside_columns([result], 3) == [(), ("age",), ()]


def test_near_out_of_range_number_is_kept():
    new = pd.DataFrame({"age": [-40.0, 140.0, 95.0], "size": 2.0})
    column = schema().numerical[0]
    assert column.limits == (-40.0, 140.0)
    np.testing.assert_array_equal(column.encode(new), (new["age"] - column.mean) / column.std)
    assert find_outside(schema(), new) == []


def test_outside_clip_clips():
    clipped = schema(outside="clip")
    new = pd.DataFrame({"age": [1e12, -1e12, 50.0], "size": 2.0})
    column = clipped.numerical[0]
    np.testing.assert_array_equal(column.encode(new), (np.array([140.0, -40.0, 50.0]) - column.mean) / column.std)
    assert str(find_outside(clipped, new)[0]).endswith(
        "2 values far outside the training range of 20 to 80 count as the nearer limit, -40 or 140: "
        "1e+12 in row 0, -1e+12 in row 1"
    )
    assert TableSchema.from_dict(json.loads(json.dumps(clipped.to_dict()))) == clipped
    with pytest.raises(ValueError, match="column 'age': outside expects one of missing, clip, got 'keep'"):
        schema(outside="keep")


def test_limits_without_range_are_ten_deviations():
    assert NumericalColumn.fit(pd.DataFrame({"x": [5.0, 5.0]}), "x").limits == (-5.0, 15.0)
    assert NumericalColumn("x", mean=50.0, std=10.0).limits == (-50.0, 150.0)
    assert np.isnan(NumericalColumn("x").encode(pd.DataFrame({"x": [1e9]}))).all()


@pytest.mark.slow
@given(
    st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=20),
    st.floats(-3e38, 3e38),
    st.sampled_from(["missing", "clip"]),
)
def test_training_rows_are_kept_and_others_bounded(values, other, rule):
    frame = pd.DataFrame({"x": values})
    column = NumericalColumn.fit(frame, "x", outside=rule)
    np.testing.assert_array_equal(column.is_outside(frame), ~usual(np.array(values)))
    encoded = column.encode(pd.DataFrame({"x": [other]}))[0]
    # A range is at most 2 * sqrt(n) deviations wide; its limits are three times as far apart.
    bound = max(6 * np.sqrt(len(values)), 10) * (1 + 1e-6)
    # A limit is a float64 number: beside a large mean it is rounded.
    bound += np.spacing(abs(column.mean)) / column.std
    assert (np.isnan(encoded) and rule == "missing") or abs(encoded) <= bound


def test_notes_quote_no_values():
    parts = {"validation": TRAIN, "test": pd.DataFrame({"age": [1e6, 20.0, 1e7], "size": 1.0}, index=[4, 5, 9])}
    assert outside_notes(schema(), parts) == (
        "Column 'age': 2 values of the test set far outside the training range of 20 to 80 count as missing: row 4, "
        "row 9.",
    )
    assert outside_notes(None, parts) == ()


def test_many_rows_are_counted_and_absent_columns_skipped():
    (result,) = find_outside(schema(), pd.DataFrame({"age": [1e9] * 12}))
    assert str(result).endswith("1e+09 in row 9 and 2 more")
