import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.data.schema.columns import CategoricalColumn, NumericalColumn, fit_column
from mmfusion.data.schema.known_orders import in_order, scale_of
from mmfusion.spec import Wording


def frame(*cells):
    return pd.DataFrame({"x": pd.Series(list(cells), dtype=object)})


def test_numbers_are_standardized_by_training_rows():
    column = NumericalColumn.fit(frame(20, 40, None), "x", unit="years")
    assert column == NumericalColumn("x", mean=30.0, std=10.0, low=20.0, high=40.0, step=1.0, unit="years")
    assert column.encode(frame(50, "unknown", "20")).tolist()[::2] == [2.0, -1.0]
    assert column.wording == Wording(unit="years", mean=30.0, std=10.0, low=20.0, high=40.0, step=1.0)


@pytest.mark.parametrize(
    ("values", "step"),
    [([1, 2, 5], 1.0), ([0.5, 1.0], 0.1), ([0.25], 0.01), ([1e-6, 2e-6], 1e-6), ([1 / 3], 0.0), ([1e12, 1], 1.0)],
)
def test_step_of_numbers(values, step):
    assert NumericalColumn.fit(frame(*values), "x").step == step


@pytest.mark.parametrize("values", [[3e38, -3e38, 3e38], [3e38, 3.4e38], [5e-324, 1e-310]])
def test_extreme_numbers_stay_finite(values):
    column = NumericalColumn.fit(frame(*values), "x")
    assert np.isfinite([column.mean, column.std]).all()
    assert column.std > 0
    assert np.isfinite(column.encode(frame(*values))).all()


def test_decimal_comma_is_stored():
    column = NumericalColumn.fit(frame("1,5", "2,5"), "x")
    assert (column.decimal, column.mean, column.step) == (",", 2.0, 0.1)
    assert column.values(frame("3,5", "4.5", 5)).tolist() == [3.5, 4.5, 5.0]


def test_date_column_is_in_years():
    column = NumericalColumn.fit(frame("31.12.1999", "31.12.2001"), "x", kind="date")
    assert (column.date_format, column.step) == ("%d.%m.%Y", 0.0)
    assert column.mean == pytest.approx(2001.0, abs=0.01)
    assert column.encode(frame("31.12.2001"))[0] == pytest.approx(1.0)
    explicit = NumericalColumn.fit(frame("20011231", "20021231"), "x", kind="date", date_format="%Y%m%d")
    # No patient's date: the year of the first and the end of that of the last.
    assert (explicit.low, explicit.high) == (2001.0, 2003.0)


def test_column_without_values():
    assert NumericalColumn.fit(frame(None, ""), "x") == NumericalColumn("x")
    assert CategoricalColumn.fit(frame(None, ""), "x").categories == ()
    assert CategoricalColumn("x").encode(frame("a", None)).tolist() == [-1, -1]


def test_categories_ignore_case_and_blanks():
    column = CategoricalColumn.fit(frame("Male", "male", "male ", "FEMALE", "left  arm"), "x")
    # The name is the spelling that most rows have.
    assert column.categories == ("FEMALE", "left arm", "male")
    assert column.encode(frame("MALE", "Female", "left arm", "diverse", None)).tolist() == [2, 0, 1, -1, -1]
    assert column.unseen(frame("MALE", "diverse", None, "x")) == ["diverse", "x"]


def test_aliases_merge_categories():
    column = CategoricalColumn.fit(frame("BRAZIL", "Brasil", "ITALY"), "x", aliases={"BRASIL": "BRAZIL"})
    assert column.categories == ("BRAZIL", "ITALY")
    assert column.encode(frame("brasil", "BRAZIL", "italy")).tolist() == [0, 0, 1]
    # A category that training rows have under its alias alone.
    assert CategoricalColumn.fit(frame("BRASIL"), "x", aliases={"BRASIL": "BRAZIL"}).categories == ("BRAZIL",)


@pytest.mark.parametrize(
    "cells", [["yes", "no"], ["Y", "N"], [True, False], ["1", "0"], [1.0, 0.0], ["T", "f"], ["on", "OFF"]]
)
def test_boolean_spellings(cells):
    column = CategoricalColumn.fit(frame(*cells), "x", kind="boolean")
    assert column.categories == ("false", "true")
    assert column.encode(frame(*cells)).tolist() == [1, 0]
    assert column.encode(frame("true", "No", 1, "perhaps")).tolist() == [1, 0, 1, -1]
    assert column.wording.categories == ("no", "yes")


def test_ordinal_order_is_kept():
    explicit = CategoricalColumn.fit(frame("high", "low"), "x", kind="ordinal", categories=("low", "medium", "high"))
    assert explicit.categories == ("low", "medium", "high")
    assert explicit.encode(frame("high", "medium")).tolist() == [2, 1]
    known = CategoricalColumn.fit(frame("high", "low", "Medium"), "x", kind="ordinal")
    assert known.categories == ("low", "Medium", "high")
    assert CategoricalColumn.fit(frame(10, 9, 2), "x", kind="ordinal").categories == ("2", "9", "10")


@pytest.mark.parametrize(
    ("categories", "expected"),
    [
        (["severe", "none", "Mild"], ("none", "Mild", "severe")),
        (["III", "I", "II"], ("I", "II", "III")),
        (["T2", "T1", "T10"], ("T1", "T2", "T10")),
        (["grade 3", "Grade 1"], ("Grade 1", "grade 3")),
        (["10", "9"], ("9", "10")),
        (["IIA", "IA", "IV"], ("IA", "IIA", "IV")),
        (["left", "right"], None),
        (["T1", "N2"], None),
        (["mild"], None),
    ],
)
def test_known_ordinal_scales(categories, expected):
    assert scale_of(categories) == expected
    assert in_order(categories) == (expected or tuple(sorted(categories)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NumericalColumn("x", decimal=";"), "column 'x': decimal expects one of ., ,, got ';'"),
        (lambda: NumericalColumn("x", kind="ordinal"), "kind expects one of numerical, date, got 'ordinal'"),
        (lambda: NumericalColumn("x", template="no place"), "needs {value}"),
        (lambda: CategoricalColumn("x", ("a", "A ")), r"differ only in case or blanks: \['a', 'A '\]"),
        (lambda: CategoricalColumn("x", ("a",), kind="boolean"), "expects the categories false, true"),
        (lambda: CategoricalColumn("x", kind="date"), "kind expects one of categorical, ordinal, boolean, got 'date'"),
        (
            lambda: CategoricalColumn.fit(frame("a", "b", "c"), "x", categories=("a",)),
            "has 'b', 'c', expected one of .*a",
        ),
        (lambda: CategoricalColumn.fit(frame("yes", "maybe"), "x", kind="boolean"), "has 'maybe', expected one of"),
        (
            lambda: fit_column(frame("a"), "x", "categorical", {"decimal": ","}),
            r"no option \['decimal'\]; valid: aliases",
        ),
        (
            lambda: fit_column(frame("1"), "x", "numerical", {"mean": 3}),
            r"no option \['mean'\]; valid: censored, date_format",
        ),
    ],
)
def test_invalid_options_raise(make, message):
    with pytest.raises(ValueError, match=message.replace("{", r"\{")):
        make()


@given(st.lists(st.text(max_size=6) | st.none(), min_size=1, max_size=20))
def test_training_cells_have_codes(cells):
    column = CategoricalColumn.fit(frame(*cells), "x")
    codes = column.encode(frame(*cells))
    assert codes.max() < max(1, len(column.categories))
    assert column.unseen(frame(*cells)) == []
    assert set(codes.tolist()) - {-1} == set(range(len(column.categories)))
    again = CategoricalColumn(**json.loads(json.dumps(column.to_dict())))
    assert again == column


@pytest.mark.slow
@given(st.lists(st.floats(-3e38, 3e38) | st.none(), min_size=1, max_size=20))
def test_standardization_round_trip(cells):
    column = NumericalColumn.fit(frame(*cells), "x")
    encoded = column.encode(frame(*cells))
    # Of the cells that are far outside the range of all the others nothing comes back.
    outside = column.is_outside(frame(*cells))
    assert (np.isnan(encoded) == np.array([cell is None for cell in cells]) | outside).all()
    for cell, z in zip(cells, encoded):
        if not np.isnan(z):
            assert z * column.std + column.mean == pytest.approx(cell, rel=1e-9, abs=1e-9 * column.std + 1e-300)
    assert NumericalColumn(**json.loads(json.dumps(column.to_dict()))) == column


def test_rare_categories_are_merged():
    cells = ["arm"] * 5 + ["Arm", "leg", "leg", "nose", None] + ["ear"] * 5
    column = CategoricalColumn.fit(frame(*cells), "x", min_cases=5)
    assert column.categories == ("arm", "ear", "rare")
    assert column.rare
    assert column.encode(frame("ARM", "leg", "nose", "never seen", "rare", None, "ear")).tolist() == [
        0,
        2,
        2,
        2,
        2,
        -1,
        1,
    ]
    assert column.unseen(frame("arm", "leg", "new")) == ["leg", "new"]
    assert CategoricalColumn(**json.loads(json.dumps(column.to_dict()))) == column
    assert column.wording.categories == ("arm", "ear", "rare")
    text = json.dumps(column.to_dict())
    assert "leg" not in text
    assert "nose" not in text


def test_rare_category_threshold():
    # Spellings and aliases count together.
    together = CategoricalColumn.fit(
        frame(*["BRAZIL"] * 3, *["Brasil"] * 2), "x", aliases={"BRASIL": "BRAZIL"}, min_cases=5
    )
    assert (together.categories, together.rare) == (("BRAZIL",), False)
    assert CategoricalColumn.fit(frame(*["a"] * 4), "x", min_cases=5).categories == ("rare",)
    assert CategoricalColumn.fit(frame(None), "x", min_cases=5) == CategoricalColumn("x")
    # What is called so stays a category of its own.
    called = CategoricalColumn.fit(frame(*["Rare"] * 5, "b"), "x", min_cases=5)
    assert called.categories == ("Rare", "other rare")
    assert called.encode(frame("rare", "b")).tolist() == [0, 1]
    ordered = CategoricalColumn.fit(
        frame(*["low", "high", "medium"] * 5, "very high"), "x", kind="ordinal", min_cases=5
    )
    assert ordered.categories == ("low", "medium", "high", "rare")
    # What is declared was not learnt from cases.
    declared = CategoricalColumn.fit(frame("a"), "x", categories=("a", "b"), min_cases=5)
    assert (declared.categories, declared.rare) == (("a", "b"), False)
    assert CategoricalColumn.fit(frame("yes"), "x", kind="boolean", min_cases=5).categories == ("false", "true")
    with pytest.raises(ValueError, match="expects min_cases of 1 or more, got 0"):
        CategoricalColumn.fit(frame("a"), "x", min_cases=0)


@given(st.lists(st.sampled_from(["a", "b", "c", "d", "e", None]), max_size=40), st.integers(1, 8))
def test_named_categories_have_enough_cases(cells, least):
    column = CategoricalColumn.fit(frame(*cells), "x", min_cases=least)
    named = column.categories[:-1] if column.rare else column.categories
    assert all(cells.count(name) >= least for name in named)
    assert {name for name in cells if name is not None and cells.count(name) >= least} == set(named)
    codes = column.encode(frame(*cells)) if cells else np.zeros(0)
    assert [code < 0 for code in codes] == [cell is None for cell in cells]
