import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.data.schema.ranges import find_outside
from mmfusion.data.schema.table_schema import TableSchema
from mmfusion.data.schema.usual_values import MOST, usual

RNG = np.random.default_rng(0)
AGES = RNG.integers(20, 81, 200).astype(float)


@pytest.mark.parametrize(
    "absurd",
    [[1e12], [-1e12], [5551234567.0], [1e12, 1e11], [1e30, -1e30, 1e9], [9999.0], [1e12] * 9, [3.4e38, -3.4e38]],
)
def test_few_absurd_numbers_are_outliers(absurd):
    n = len(absurd)
    cells = np.concatenate([absurd, AGES[n:]])
    assert np.flatnonzero(~usual(cells)).tolist() == list(range(n))
    frame = pd.DataFrame({"age": cells})
    schema = TableSchema.infer(frame)
    [column] = schema.numerical
    assert f"{absurd[0]:g}" not in schema.describe()
    [clean] = TableSchema.infer(frame[n:]).numerical
    assert (column.mean, column.std, column.low, column.high, column.limits, column.step) == (
        clean.mean,
        clean.std,
        clean.low,
        clean.high,
        clean.limits,
        clean.step,
    )
    [result] = find_outside(TableSchema((column,)), frame)
    assert result.rows == tuple(range(n))
    assert f"{absurd[0]:g} in row 0" in str(result)
    assert np.isnan(column.encode(frame)).sum() == n


@pytest.mark.parametrize("n", [10, 50, 200, 5000])
@pytest.mark.parametrize(
    "draw",
    [
        lambda n: RNG.lognormal(1, 1, n),
        lambda n: np.round(RNG.lognormal(2, 1.5, n), 1),
        lambda n: RNG.standard_t(3, n),
        lambda n: RNG.poisson(0.3, n),
        lambda n: RNG.negative_binomial(1, 0.05, n),
        lambda n: RNG.geometric(0.01, n),
        lambda n: RNG.pareto(3, n),
        lambda n: (RNG.random(n) < 0.1) * RNG.lognormal(3, 1, n),
        lambda n: np.where(np.arange(n) == 3, 1e6, 0.0),
        lambda n: np.repeat(7.0, n),
    ],
)
def test_heavy_tails_are_kept(draw, n):
    for _ in range(10):
        assert usual(np.asarray(draw(n), dtype=float)).all()


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), max_size=60))
def test_most_values_are_usual_in_any_unit(values):
    cells = np.array(values, dtype=np.float64)
    result = usual(cells)
    assert (~result).sum() <= max(1, MOST * len(cells))
    np.testing.assert_array_equal(usual(-4 * cells), result)
