import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.comparison.report.axis import limits, reach

NAN = float("nan")


def test_reach_is_three_half_widths_around_reference() -> None:
    values, half_widths = np.array([0.9, 0.91, 0.89, 0.5, NAN]), np.array([0.02, 0.02, 0.03, 0.1, NAN])
    # The median half-width is 0.025.
    assert reach(values, half_widths, 0.9) == pytest.approx((0.825, 0.975))


def test_reach_without_intervals_is_twice_median_distance() -> None:
    values = np.array([0.9, 0.91, 0.88, 0.5])
    assert reach(values, np.full(4, NAN), 0.9) == pytest.approx((0.87, 0.93))


def test_evenly_spread_methods_are_all_in_reach() -> None:
    values = np.linspace(0.5, 0.9, 9)
    low, high = reach(values, np.full(9, 0.01), 0.7)
    assert low <= 0.5
    assert high >= 0.9


def test_reach_is_unbounded_without_typical_distance() -> None:
    assert reach(np.array([0.9, 0.9, 0.9, 0.2]), np.full(4, NAN), 0.9) == (-np.inf, np.inf)
    assert reach(np.array([NAN]), np.array([NAN])) == (-np.inf, np.inf)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.001, 0.1))
def test_at_least_half_of_methods_are_in_reach(values: list[float], half_width: float) -> None:
    low, high = reach(np.array(values), np.full(len(values), half_width), values[0])
    assert np.mean([low <= value <= high for value in values]) >= 0.5


def test_limits_have_margin_and_respect_span() -> None:
    assert limits([np.array([0.0, 1.0, NAN])]) == pytest.approx((-0.06, 1.06))
    assert limits([np.array([0.0, 9.0])], (0, 1)) == pytest.approx((-0.06, 1.06))
    assert limits([np.array([0.5])]) == pytest.approx((0.4994, 0.5006))
    assert limits([]) == limits([np.array([NAN])]) == (0.0, 1.0)
