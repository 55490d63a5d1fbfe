import json

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.data.schema import CategoricalColumn, NumericalColumn, TableSchema
from mmfusion.spec import Columns

FRAME = pd.DataFrame({"age": [20.0, 40.0, np.nan], "sex": ["male", "female", "unknown"], "grade": [1.0, 2.0, np.nan]})


def test_fit_and_transform():
    schema = TableSchema.fit(FRAME, numerical=("age",), categorical=("sex", "grade"))
    assert schema.numerical == (NumericalColumn("age", 30.0, 10.0),)
    # A whole number is the same category whether or not an empty cell has made floats of the column.
    assert schema.categorical == (CategoricalColumn("sex", ("female", "male")), CategoricalColumn("grade", ("1", "2")))
    assert schema.columns == Columns(numerical=("age",), categorical=(("sex", 2), ("grade", 2)))
    assert schema.names == ("age", "sex", "grade")
    table = schema.transform(FRAME)
    assert table.numerical.dtype == torch.float32
    assert table.categorical.dtype == torch.int64
    assert table.numerical[:2].tolist() == [[-1.0], [1.0]]
    assert table.numerical[2].isnan().all()
    assert table.categorical.tolist() == [[1, 0], [0, 1], [-1, -1]]


def test_new_rows_are_in_the_units_of_the_training_rows():
    schema = TableSchema.fit(FRAME, numerical=("age",), categorical=("sex", "grade"))
    new = pd.DataFrame({"grade": [2, 3], "sex": [" male ", "diverse"], "age": ["50", "NA"], "more": [0, 0]})
    table = schema.transform(new)
    assert table.numerical[0].item() == 2.0
    assert table.numerical[1].isnan().all()
    assert table.categorical.tolist() == [[1, 1], [-1, -1]]


@pytest.mark.parametrize("missing", ["unknown", "UNK", "Na", "nan", "", "  ", None, float("nan"), pd.NA, pd.NaT])
def test_spellings_of_a_missing_cell(missing):
    frame = pd.DataFrame({"x": [1, missing, 3], "c": ["a", missing, "b"]}, dtype=object)
    schema = TableSchema.fit(frame, numerical=("x",), categorical=("c",))
    assert schema.categorical[0].categories == ("a", "b")
    assert schema.numerical[0].mean == 2.0
    table = schema.transform(frame)
    assert table.numerical.isnan().flatten().tolist() == [False, True, False]
    assert table.categorical.flatten().tolist() == [0, -1, 1]


def test_a_column_without_any_value():
    frame = pd.DataFrame({"x": [np.nan, np.nan], "c": [None, "unknown"]})
    schema = TableSchema.fit(frame, numerical=("x",), categorical=("c",))
    assert schema.numerical[0] == NumericalColumn("x", 0.0, 1.0)
    assert schema.columns == Columns(numerical=("x",), categorical=(("c", 1),))
    assert schema.transform(frame).numerical.isnan().all()
    assert schema.transform(pd.DataFrame({"x": [4.0], "c": ["a"]})).numerical.item() == 4.0


@pytest.mark.parametrize("value", [3.0, 0.1, 1e-12])
def test_a_constant_column_is_centred_and_not_scaled(value):
    frame = pd.DataFrame({"x": [value] * 7})
    schema = TableSchema.fit(frame, numerical=("x",))
    assert schema.numerical[0].std == 1.0
    assert schema.transform(frame).numerical.abs().max() < 1e-6


def test_true_and_false_are_numbers_in_a_numerical_column():
    schema = TableSchema((NumericalColumn("x"),))
    assert schema.transform(pd.DataFrame({"x": [True, "False"]}, dtype=object)).numerical.flatten().tolist() == [1, 0]


@pytest.mark.parametrize("text", ["forty", "4O", "inf"])
def test_text_where_numbers_belong(text):
    frame = pd.DataFrame({"age": ["40", text]}, index=[7, 11])
    with pytest.raises(ValueError, match=f"column 'age' holds numbers, but row 11 has '{text}'"):
        TableSchema.fit(frame, numerical=("age",))
    with pytest.raises(ValueError, match="row 11"):
        TableSchema((NumericalColumn("age"),)).transform(frame)


def test_a_missing_column_is_named_with_what_is_there():
    schema = TableSchema.fit(FRAME, numerical=("age",), categorical=("sex",))
    with pytest.raises(ValueError, match=r"no column 'sex'; its columns are: age, Sex"):
        schema.transform(pd.DataFrame({"age": [1], "Sex": ["male"]}))
    with pytest.raises(ValueError, match=r"no column 'weight', 'site'"):
        TableSchema.fit(FRAME, numerical=("weight",), categorical=("site",))


@given(
    st.lists(st.floats(-1e6, 1e6) | st.none(), min_size=1, max_size=20),
    st.lists(st.text(max_size=5) | st.none(), min_size=1, max_size=20),
)
def test_json_round_trip_is_exact(numbers, words):
    n = max(len(numbers), len(words))
    frame = pd.DataFrame(
        {"x": numbers + [None] * (n - len(numbers)), "c": words + [None] * (n - len(words))}, dtype=object
    )
    schema = TableSchema.fit(frame, numerical=("x",), categorical=("c",))
    again = TableSchema.from_dict(json.loads(json.dumps(schema.to_dict())))
    assert again == schema
    for first, second in zip(schema.transform(frame), again.transform(frame)):
        assert torch.equal(torch.nan_to_num(first), torch.nan_to_num(second))
    assert schema.transform(frame).categorical.max() < len(again.categorical[0].categories)
