import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.metrics.decision import THRESHOLDS, net_benefit, treat_all, useful_range


def by_definition(scores: np.ndarray, positive: np.ndarray, threshold: float) -> float:
    """As Vickers and Elkin write it, from the four cells."""
    treated = scores >= threshold
    true, false = (treated & positive).sum(), (treated & ~positive).sum()
    return (true - false * threshold / (1 - threshold)) / len(scores)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30))
def test_net_benefit_matches_definition(cases: list[tuple[float, bool]]) -> None:
    scores, positive = np.array([p for p, _ in cases]), np.array([y for _, y in cases])
    curve = net_benefit(scores, positive, np.ones((len(cases), 1)))[0]
    expected = [by_definition(scores, positive, t) for t in THRESHOLDS]
    np.testing.assert_allclose(curve, expected, atol=1e-12)
    assert (curve <= positive.mean() + 1e-12).all()


def test_weight_equals_duplicated_cases() -> None:
    scores, positive = np.array([0.2, 0.7, 0.4, 0.4]), np.array([False, True, True, False])
    weights = np.array([[2.0, 1], [1, 1], [0, 1], [1, 1]])
    drawn = net_benefit(np.repeat(scores, [2, 1, 0, 1]), np.repeat(positive, [2, 1, 0, 1]), np.ones((4, 1)))
    np.testing.assert_allclose(net_benefit(scores, positive, weights)[0], drawn[0], atol=1e-12)


def test_treat_all_matches_constant_prediction() -> None:
    positive = np.arange(10) < 3
    curve = net_benefit(np.ones(10), positive, np.ones((10, 1)))[0]
    np.testing.assert_allclose(curve, treat_all(0.3), atol=1e-12)
    assert treat_all(0.3)[29] == pytest.approx(0)
    np.testing.assert_array_equal(net_benefit(np.zeros(10), positive, np.ones((10, 1)))[0], 0)


def test_zero_weights_give_undefined_curve() -> None:
    assert np.isnan(net_benefit(np.ones(2), np.array([True, False]), np.zeros((2, 1)))).all()


def test_useful_range_is_longest_interval() -> None:
    default = np.maximum(treat_all(0.3), 0)
    better = np.zeros(99)
    better[[4, 5, 20, 21, 22]] = 0.01
    assert useful_range(default + better, 0.3) == (0.21, 0.23)
    assert useful_range(default, 0.3) is None
    assert useful_range(np.full(99, np.nan), 0.3) is None
    assert useful_range(default + 0.01, 0.3) == (0.01, 0.99)
