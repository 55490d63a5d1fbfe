import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.comparison.report.axis import limits, reach

NAN = float("nan")


def test_what_matters_is_within_three_half_widths_of_the_reference() -> None:
    values, half_widths = np.array([0.9, 0.91, 0.89, 0.5, NAN]), np.array([0.02, 0.02, 0.03, 0.1, NAN])
    # The median half-width is 0.025.
    assert reach(values, half_widths, 0.9) == pytest.approx((0.825, 0.975))


def test_without_intervals_it_is_within_twice_the_median_distance() -> None:
    values = np.array([0.9, 0.91, 0.88, 0.5])
    assert reach(values, np.full(4, NAN), 0.9) == pytest.approx((0.87, 0.93))


def test_methods_that_spread_evenly_all_matter() -> None:
    values = np.linspace(0.5, 0.9, 9)
    low, high = reach(values, np.full(9, 0.01), 0.7)
    assert low <= 0.5
    assert high >= 0.9


def test_where_nothing_is_typical_all_matters() -> None:
    assert reach(np.array([0.9, 0.9, 0.9, 0.2]), np.full(4, NAN), 0.9) == (-np.inf, np.inf)
    assert reach(np.array([NAN]), np.array([NAN])) == (-np.inf, np.inf)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.001, 0.1))
def test_half_of_the_methods_matter_at_least(values: list[float], half_width: float) -> None:
    low, high = reach(np.array(values), np.full(len(values), half_width), values[0])
    assert np.mean([low <= value <= high for value in values]) >= 0.5


def test_an_axis_has_a_margin_and_ends_at_its_span() -> None:
    assert limits([np.array([0.0, 1.0, NAN])]) == pytest.approx((-0.06, 1.06))
    assert limits([np.array([0.0, 9.0])], (0, 1)) == pytest.approx((-0.06, 1.06))
    assert limits([np.array([0.5])]) == pytest.approx((0.4994, 0.5006))
    assert limits([]) == limits([np.array([NAN])]) == (0.0, 1.0)
