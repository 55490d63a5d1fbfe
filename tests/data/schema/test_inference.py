import numpy as np
import pandas as pd
import pytest

from mmfusion.data.schema.inference import Decision, infer_columns
from mmfusion.data.schema.number_cells import Remark


def decide(cells, name="x", **override):
    frame = pd.DataFrame({name: pd.Series(list(cells), dtype=object)})
    [decision] = infer_columns(frame, {name: override} if override else None)
    return decision


MANY = 40


@pytest.mark.parametrize(
    ("cells", "kind", "reason"),
    [
        ([1.5, 2.5, None] * MANY, "numerical", "2 numbers"),
        (["1,5", "2,5"] * MANY, "numerical", "2 numbers"),
        (range(30, 70), "numerical", "40 numbers"),
        ([3, 1, 2, "unknown"] * MANY, "ordinal", "3 whole numbers"),
        ([3, 1, 2], "numerical", "3 numbers"),  # too few rows to call them levels
        ([0, 100] * MANY, "numerical", "2 numbers"),  # too far apart
        ([True, False], "boolean", "its values are True, False"),
        (["yes", "No", "", "no"], "boolean", "its values are yes, No, no"),
        ([1, 0] * MANY, "boolean", "its values are 0, 1"),
        (["1", "no"], "boolean", "its values are 1, no"),
        (["low", "high", "medium"] * MANY, "ordinal", "3 levels"),
        (["T1", "T3", "T2"] * MANY, "ordinal", "3 levels"),
        (["arm", "leg", "unk"], "categorical", "2 values"),
        (["Male", "male", "female"], "categorical", "2 values"),
        ([f"site {i}" for i in range(30)] * 2, "ordinal", "30 levels"),
        (["2020-01-31", "2021-02-28"], "date", "2 dates, as in ISO8601"),
        (["31.01.2020", None, "28.02.2021"], "date", "2 dates, as in %d.%m.%Y"),
        ([None, "", "unknown"], "drop", "has no value in any row"),
        (["a", "a", None], "drop", "has only one value"),
        ([5, 5.0, "5"], "drop", "has only one value"),
        ([f"images/{i}.PNG" for i in range(9)], "drop", "names files"),
        ([f"a{chr(97 + i % 26)}{i * 7919}" for i in range(100)], "drop", "looks like an identifier: 100 values in 100"),
        ([f"he said {i} times no" for i in range(99)], "text", "free text, 99 different texts in 99 rows"),
    ],
)
def test_kinds_of_columns(cells, kind, reason):
    decision = decide(cells)
    assert decision.kind == kind
    assert decision.reason.startswith(reason)


@pytest.mark.parametrize("dtype", ["object", "str", "category"])
def test_decision_is_invariant_to_pandas_dtype(dtype):
    for cells in ([1.5, 2.5, 4.0], ["a", "b", "a"], ["yes", "no", "no"], [3, 1, 2] * MANY):
        texts = [str(cell) for cell in cells]
        item = infer_columns(pd.DataFrame({"x": pd.Series(texts, dtype=dtype)}))[0]
        assert (item.kind, item.reason) == (decide(cells).kind, decide(cells).reason)


def test_datetime_dtype_is_date():
    frame = pd.DataFrame({"x": pd.to_datetime(["2020-01-31", "2021-02-28"])})
    assert infer_columns(frame)[0].kind == "date"


@pytest.mark.parametrize(
    "name", ["id", "patient_id", "LesionID", "lesionId", "case no", "image", "Unnamed: 0", "MRN", "study-number"]
)
def test_identifier_names_are_dropped(name):
    numbered = decide(range(100), name)
    named = decide([f"P{i}" for i in range(100)], name)
    assert (numbered.kind, named.kind) == ("drop", "drop")


@pytest.mark.parametrize("name", ["width", "idea", "fluid", "grid_size", "acid"])
def test_similar_names_are_kept(name):
    assert decide(range(100), name).kind == "numerical"


def test_duplicate_column_is_dropped():
    frame = pd.DataFrame(
        {"a": [1, 2, None], "b": ["1.0", "2", ""], "c": [1, 3, None], "d": ["p", "q", "p"], "e": ["p", "q", "p"]}
    )
    kinds = {item.name: (item.kind, item.reason) for item in infer_columns(frame)}
    assert kinds["b"] == ("drop", "has the same cells as 'a'")
    assert kinds["e"] == ("drop", "has the same cells as 'd'")
    assert [kinds[name][0] for name in "acd"] == ["numerical", "numerical", "categorical"]
    # Two columns without values are both empty, not copies.
    empty = infer_columns(pd.DataFrame({"a": [None, None], "b": [np.nan, np.nan]}))
    assert {item.reason for item in empty} == {"has no value in any row"}


def test_remarks_of_columns():
    frame = pd.DataFrame({"country": ["BRAZIL"] * 20 + ["BRASIL"] * 3 + ["ITALY"] * 20})
    [country] = infer_columns(frame)
    assert country.remarks == (
        Remark(
            "country",
            "a rare value could be a frequent one, misspelt: an alias would make them one",
            "'BRASIL' (3 rows) looks like 'BRAZIL' (20 rows)",
        ),
    )
    assert decide(["left arm"] * 20 + ["left ear"] * 2 + ["T1a"] * 20 + ["T2a"]).remarks == ()
    assert decide(["POLLAND"] + ["POLAND"] * 9).remarks[0].cells.startswith("'POLLAND' (1 rows) looks like 'POLAND'")
    assert decide(["1,5", "2,5"]).remarks == (Remark("x", "commas are read as decimal marks"),)
    assert decide(["1,5", "2,5"], decimal=",").remarks == ()
    assert decide(["1.5", "2.5"]).remarks == ()
    assert decide(["01/02/2020", "03/04/2021"]).remarks == (
        Remark("x", "the order of day and month is ambiguous; dates are read as %d/%m/%Y"),
    )
    assert decide(["13/02/2020", "03/04/2021"]).remarks == ()


def test_explicit_options_override_inference():
    frame = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "x"], "y": [0, 1, 0]})
    explicit = infer_columns(
        frame, {"a": "categorical", "b": {"kind": "ordinal", "categories": ["y", "x"]}}, drop=["y"]
    )
    assert explicit == [
        Decision("a", "categorical", "as given"),
        Decision("b", "ordinal", "as given", {"categories": ["y", "x"]}),
        Decision("y", "drop", "is not a feature"),
    ]
    # Without a kind, that is decided, with the options given.
    assert decide(["none", "a", "b"], missing=["none"]) == Decision(
        "x", "categorical", "2 values", {"missing": ["none"]}
    )
    assert infer_columns(frame, {"y": "boolean"}, drop=["y"])[-1].kind == "boolean"


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (pd.DataFrame({"a": []}), {}, "no rows"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), {}, r"several columns called \['a'\]"),
        (pd.DataFrame({"a": [1]}), {"overrides": {"b": "drop"}}, r"no column \['b'\]; its columns are: a"),
        (pd.DataFrame({"a": [1]}), {"drop": ["c"]}, r"no column \['c'\]"),
        (pd.DataFrame({"a": [1]}), {"overrides": {"a": "number"}}, "one of the kinds numerical, .* got 'number'"),
    ],
)
def test_invalid_options_raise(frame, options, message):
    with pytest.raises(ValueError, match=message):
        infer_columns(frame, **options)
