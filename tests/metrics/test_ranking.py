from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.metrics.ranking import Order, cumulative, rank, sums


def by_definition(scores: np.ndarray, positive: np.ndarray, w: np.ndarray) -> tuple[float, float]:
    """One number a pair, one a positive."""
    pairs = won = average = 0.0
    for i, j in product(np.flatnonzero(positive), np.flatnonzero(~positive)):
        pairs += w[i] * w[j]
        won += w[i] * w[j] * (1.0 if scores[i] > scores[j] else 0.5 if scores[i] == scores[j] else 0.0)
    for i in np.flatnonzero(positive & (w > 0)):
        above = scores >= scores[i]
        average += w[i] * w[above & positive].sum() / w[above].sum()
    total = w[positive].sum()
    return (won / pairs, average / total) if pairs else (np.nan, np.nan)


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 3)), min_size=1, max_size=15))
def test_auc_and_average_precision_match_definition(rows: list[tuple[int, bool, int]]) -> None:
    scores, positive, w = (np.array(column) for column in zip(*rows, strict=True))
    found = rank(scores.astype(float), positive.astype(bool), w[None].astype(float))
    wanted = by_definition(scores, positive.astype(bool), w)
    np.testing.assert_allclose([found.auc[0], found.average_precision[0]], wanted, atol=1e-12)


def test_fractional_weights_in_many_columns() -> None:
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 9, 30).astype(float), rng.random(30) < 0.4
    w = rng.random((50, 30))
    w[0] = 0
    w[1, positive] = 0
    w[2, ~positive] = 0
    found = rank(scores, positive, w)
    wanted = np.array([by_definition(scores, positive, row) for row in w])
    np.testing.assert_allclose(found.auc, wanted[:, 0], atol=1e-12)
    np.testing.assert_allclose(found.average_precision, wanted[:, 1], atol=1e-12)
    assert np.isnan(found.auc[:3]).all()
    assert np.isnan(found.average_precision[:3]).all()


def test_no_positives_is_undefined() -> None:
    found = Order(np.array([0.1, 0.2]), np.array([False, False])).rank(np.ones((2, 3)))
    assert np.isnan(found.auc).all()
    assert np.isnan(found.average_precision).all()


@pytest.mark.parametrize("columns", [1, 40])
def test_cumulative_matches_numpy(columns: int) -> None:
    values = np.arange(5.0 * columns).reshape(5, columns)
    np.testing.assert_array_equal(cumulative(values), np.cumsum(values, axis=0))


def test_sums_builds_sparse_matrix() -> None:
    matrix = sums(np.array([0, 1, 1]), np.array([2, 0, 1]), (3, 3), np.array([1.0, 2.0, -1.0]))
    np.testing.assert_array_equal(matrix @ np.array([[1.0], [10.0], [100.0]]), [[100.0], [-8.0], [0.0]])
