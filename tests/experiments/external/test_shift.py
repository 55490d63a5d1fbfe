import numpy as np
import pandas as pd
import pytest

from mmfusion.data.schema.categorical_column import CategoricalColumn
from mmfusion.data.schema.numerical_column import NumericalColumn
from mmfusion.experiments.external.shift import NEW, Shift, corrected, moments_text, of_column

N = 80
RNG = np.random.default_rng(0)
FIRST = pd.DataFrame({"age": RNG.normal(50, 10, N), "sex": ["female", "male"] * (N // 2)})
AGE = NumericalColumn.fit(FIRST, "age")
SEX = CategoricalColumn("sex", ("female", "male"), missing=("x",))


def test_numerical_shift() -> None:
    (same,) = of_column(AGE, FIRST, FIRST, 0)
    assert (same.n_reference, same.n_other, same.effect, same.p) == (N, N, 0.0, 1.0)
    (moved,) = of_column(AGE, FIRST, FIRST.assign(age=FIRST["age"] + 20), 0)
    assert moved.effect > 0.5
    assert moved.p < 1e-6
    assert moved.title == "column age"
    assert float(moved.other.split()[0]) == pytest.approx(FIRST["age"].mean() + 20, abs=0.5)


def test_categorical_shift_with_missing_and_new_levels() -> None:
    other = pd.DataFrame({"sex": ["M", "Female", "diverse", "x"] * 10})
    values, missing = of_column(SEX, FIRST, other, 0)
    assert values.n_other == 30
    assert values.other == f"{NEW}: 67%, female: 33%"
    assert values.p < 0.001
    assert (missing.kind, missing.reference, missing.other) == ("missing", "0%", "25%")
    assert missing.p < 0.01


def test_shift_of_missing_column_is_undefined() -> None:
    values, missing = of_column(AGE, FIRST, FIRST.drop(columns="age"), 0)
    assert (values.other, values.n_other) == ("none", 0)
    assert np.isnan([values.p, values.effect]).all()
    assert missing.p < 1e-6
    assert missing.other == "100%"
    values, _ = of_column(SEX, FIRST, FIRST.assign(sex=None), 0)
    assert np.isnan(values.p)
    # Cells that are no numbers are missing.
    values, missing = of_column(AGE, FIRST, FIRST.assign(age=["old"] * N), 0)
    assert values.n_other == 0


def test_p_values_are_corrected_over_defined_tests() -> None:
    rows = [Shift("column", name, "", "", 9, 9, 0.1, p) for name, p in (("a", 0.02), ("b", np.nan), ("c", 0.5))]
    found = corrected(rows)
    assert [one.corrected for one in found] == pytest.approx([0.04, np.nan, 0.5], nan_ok=True)
    assert [one.shifted for one in found] == [True, False, False]
    assert corrected([]) == ()


@pytest.mark.parametrize(
    ("mean", "deviation", "text"),
    [
        (0.26, 0.065, "0.260 ± 0.065"),
        (0.265, 0.13, "0.27 ± 0.13"),
        (202.4, 26.1, "202 ± 26"),
        (1234.0, 300.0, "1234 ± 300"),
        (1 / 3, 5.6e-17, "0.333"),
        (9.25, 0.0, "9.25"),
        (0.0, 0.0, "0"),
        (2.5e8, 3e7, "2.5e+08 ± 3e+07"),
        (1e-8, 2e-9, "1e-08 ± 2e-09"),
        (5.0, np.nan, "5"),
    ],
)
def test_a_mean_has_the_digits_of_its_deviation(mean: float, deviation: float, text: str) -> None:
    assert moments_text(mean, deviation) == text
