from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.data.schema.leaks import _auc, _folds, find_leaks
from mmfusion.data.schema.table_file import read_table
from mmfusion.data.schema.table_schema import TableSchema

N = 400
RNG = np.random.default_rng(0)
LABELS = np.arange(N) % 4 == 0  # a quarter is of class 1
NOISE = RNG.normal(size=N)


def leaks_of(cells, labels=LABELS, **options):
    frame = pd.DataFrame({"x": pd.Series(list(cells), dtype=object)})
    kind = "numerical" if all(isinstance(cell, float | int) or cell is None for cell in cells) else "categorical"
    return find_leaks(TableSchema.fit(frame, **{kind: ["x"]}, min_cases=1), frame, labels.astype(int), **options)


def test_auc_of_ties_and_orders():
    positive = np.array([True, True, False, False])
    assert _auc(np.array([4.0, 3, 2, 1]), positive) == 1
    assert _auc(np.array([1.0, 1, 1, 1]), positive) == 0.5
    assert _auc(np.array([2.0, 1, 2, 1]), positive) == 0.5
    assert np.isnan(_auc(np.ones(4), np.zeros(4, dtype=bool)))


def test_unrelated_column_is_not_reported():
    assert leaks_of(NOISE.tolist()) == []
    assert leaks_of(RNG.choice(["a", "b", "c"], N).tolist()) == []
    # Chance does not add up over many values: they are scored on other rows than they were counted on.
    assert leaks_of([f"v{i % 200}" for i in range(N)], RNG.permutation(LABELS)) == []


@pytest.mark.parametrize(("rows", "reported"), [(39, False), (40, True)])
def test_numbers_of_few_rows_are_not_judged(rows, reported):
    labels = np.arange(rows) % 2 == 1
    assert bool(leaks_of((np.arange(rows) + 1000.0 * labels).tolist(), labels)) is reported


@pytest.mark.parametrize("monotone", [True, False])
def test_number_that_determines_class_is_reported(monotone):
    signal = NOISE + 3 * LABELS * (1 if monotone else np.where(np.arange(N) % 8 == 0, 1, -1))
    [leak] = leaks_of(signal.tolist())
    assert (leak.columns, leak.sign, leak.value) == (("x",), "auc", "cells")
    assert leak.classes == ("0", "1")  # of two classes, what tells one tells the other
    assert 0.9 < leak.figure < 1
    assert f"{leak.figure:.3f}" in leak.text
    assert leak.text.startswith("column 'x' alone distinguishes classes from the rest, cross-validated AUC: '")


def test_missingness_that_determines_class_is_reported():
    cells = [None if (label and i % 20) or i % 50 == 1 else float(i % 7) for i, label in enumerate(LABELS)]
    leaks = leaks_of(cells, classes=["benign", "malignant"])
    # The values say nothing, but the column as a whole says what its missing cells do.
    assert {(leak.sign, leak.value) for leak in leaks} == {("auc", "missingness"), ("auc", "cells")}
    assert all(leak.classes == ("benign", "malignant") for leak in leaks)
    explicit = next(leak for leak in leaks if leak.value == "missingness")
    assert explicit.figure == pytest.approx(0.5 * (1 + 80 / 100 - 8 / 300), abs=0.02)
    assert any("whether column 'x' is missing alone" in leak.text for leak in leaks)


def test_value_that_excludes_class_is_reported():
    # As management in Derm7pt: a tenth of the rows, none of them of class 1.
    cells = ["follow up" if i % 20 == 1 else ["excision", "none"][(i // 4) % 2] for i in range(N)]
    [leak] = leaks_of(cells, classes=["nevus", "melanoma"])
    n = cells.count("follow up")
    assert (leak.sign, leak.value, leak.classes, leak.figure) == ("never", "follow up", ("melanoma",), n)
    assert leak.text.startswith(
        f"column 'x': the {n} rows of 'follow up' never occur with 'melanoma' ({n / 4:.0f} expected)"
    )


@pytest.mark.parametrize(("share", "named"), [(0.05, True), (0.0475, False)])
def test_value_needs_a_twentieth_of_rows(share, named):
    without = np.flatnonzero(~LABELS)[: round(share * N)]
    cells = np.where(np.isin(np.arange(N), without), "a", "b")
    assert bool(leaks_of(cells.tolist())) == named


@pytest.mark.parametrize(("rows", "named"), [(6, True), (5, False)])
def test_exclusion_needs_three_expected_rows(rows, named):
    # Of 40 rows, half are of class 1: of six rows with a value, three are expected to be.
    labels = np.arange(40) % 2 == 1
    without = np.flatnonzero(~labels)[:rows]
    cells = np.where(np.isin(np.arange(40), without), "a", np.where(np.arange(40) % 4 < 2, "b", "c"))
    result = leaks_of(cells.tolist(), labels)
    assert [leak.value for leak in result if leak.sign == "never"] == ["a"] * named


@pytest.mark.parametrize(("share", "named"), [(0.10, True), (0.0975, False)])
def test_class_needs_a_tenth_of_rows(share, named):
    labels = np.arange(N) < round(share * N)
    cells = np.where(np.arange(N) % 3 == 0, "a", "b").astype(object)
    cells[labels] = "b"
    assert bool(leaks_of(cells.tolist(), labels)) == named


def test_columns_missing_together_are_one_leak():
    gone = ~LABELS & (np.arange(N) % 3 == 0)
    frame = pd.DataFrame({name: np.where(gone, np.nan, RNG.normal(size=N)) for name in ("a", "b", "c")})
    frame.loc[5, "c"] = np.nan
    schema = TableSchema.fit(frame, numerical=["a", "b", "c"])
    leaks = [leak for leak in find_leaks(schema, frame, LABELS.astype(int)) if leak.sign == "never"]
    assert [leak.columns for leak in leaks] == [("c",), ("a", "b")] or [leak.columns for leak in leaks] == [("a", "b")]
    together = next(leak for leak in leaks if leak.columns == ("a", "b"))
    assert together.figure == gone.sum()
    assert together.text.startswith(
        f"columns 'a', 'b': the {gone.sum()} rows where they are missing never occur with '1'"
    )


def test_groups_stay_in_one_fold():
    """Several rows per patient: a code of the patient carries no information about other patients."""
    patients = np.arange(N) // 4
    labels = RNG.permutation(np.arange(N // 4) % 2)[patients]
    cells = [f"p{i}" for i in patients]
    assert leaks_of(cells, labels, groups=[str(i) for i in patients]) == []
    [torn] = leaks_of(cells, labels)
    assert torn.figure > 0.9


def test_degenerate_tables_have_no_leak():
    assert leaks_of([1.0, 2.0], np.zeros(2)) == []
    assert leaks_of([None, None, None], np.array([0, 1, 1])) == []
    assert leaks_of([1.0, 1.0, 1.0], np.array([0, 1, 1])) == []
    for wrong in ({"labels": np.zeros(3)}, {"groups": ["a"]}):
        with pytest.raises(ValueError, match="for each of 2 rows, got"):
            leaks_of([1.0, 2.0], **({"labels": np.array([0, 1])} | wrong))
    with pytest.raises(ValueError, match="labels from 0 to 1 do not fit 1 classes"):
        leaks_of([1.0, 2.0], np.array([0, 1]), classes=["only"])


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=5, max_size=60))
def test_folds_keep_groups_together(rows):
    codes, groups = np.array(rows).T
    fold = _folds(codes, [str(group) for group in groups], 0)
    assert all(len(set(fold[groups == group])) == 1 for group in groups)
    assert set(fold) <= set(range(5))


PAD = Path(__file__).parents[4] / "shared" / "data" / "pad_ufes_20" / "metadata.csv"


@pytest.mark.slow
@pytest.mark.skipif(not PAD.is_file(), reason="needs the metadata of PAD-UFES-20 beside the checkout")
def test_leaks_of_pad_ufes_20():
    frame = read_table(PAD)
    schema = TableSchema.infer(frame, drop=["diagnostic", "img_id"])
    labels, names = pd.factorize(frame["diagnostic"], sort=True)
    leaks = schema.check(frame, labels, classes=list(names), groups=frame["patient_id"].tolist())
    said = "\n".join(map(str, leaks))
    assert "column 'biopsed' alone distinguishes classes from the rest, cross-validated AUC: 'BCC' 0.8" in said
    assert "column 'biopsed': the 956 rows of 'false' never occur with 'BCC'" in said
    together = [leak for leak in leaks if leak.sign == "never" and leak.figure == 804]
    assert [set(leak.columns) for leak in together] == [
        {
            *("diameter_1", "diameter_2", "smoke", "drink", "pesticide", "gender", "skin_cancer_history"),
            *("cancer_history", "has_piped_water", "has_sewage_system", "fitspatrick"),
        }
    ]
    # None of them a cancer.
    assert together[0].classes == ("BCC", "MEL", "SCC")
