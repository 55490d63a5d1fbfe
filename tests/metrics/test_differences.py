import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mmfusion.metrics.differences import (
    corrected_resampled_difference,
    detectable,
    equivalence,
    independent_difference,
    t_test,
)


def test_t_test_matches_scipy() -> None:
    d = np.random.default_rng(0).normal(0.02, 0.03, 9)
    found = t_test(float(d.mean()), float(d.std(ddof=1) / 3), 8)
    wanted = stats.ttest_1samp(d, 0)
    assert found.p == pytest.approx(wanted.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(wanted.confidence_interval()))


def test_t_test_of_constant_differences() -> None:
    assert tuple(t_test(0.0, 0.0, 4)) == (0.0, 0.0, 0.0, 1.0)
    assert tuple(t_test(0.1, 0.0, 4)) == (0.1, 0.1, 0.1, 0.0)
    assert equivalence(0.0, 0.0, 4, 0.01) == (0.0, 0.0)
    assert equivalence(0.02, 0.0, 4, 0.01) == (0.0, 1.0)


@pytest.mark.parametrize(("error", "degrees"), [(math.nan, 4), (0.1, math.nan), (0.1, 0)])
def test_t_test_without_error_is_undefined(error: float, degrees: float) -> None:
    found = t_test(0.1, error, degrees)
    assert found.mean == 0.1
    assert np.isnan([found.low, found.high, found.p]).all()
    assert np.isnan(equivalence(0.1, error, degrees, 0.1)).all()
    assert math.isnan(detectable(error, degrees))


def test_equivalence_matches_two_one_sided_tests() -> None:
    d = np.random.default_rng(1).normal(0.002, 0.01, 12)
    mean, error = float(d.mean()), float(d.std(ddof=1) / math.sqrt(12))
    above = stats.ttest_1samp(d, -0.01, alternative="greater").pvalue
    below = stats.ttest_1samp(d, 0.01, alternative="less").pvalue
    assert tuple(equivalence(mean, error, 11, 0.01)) == pytest.approx((above, max(above, below)))
    # Of a loss the lower one is the better.
    assert equivalence(mean, error, 11, 0.01, lower_is_better=True).p_no_worse == pytest.approx(below)


@pytest.mark.parametrize("margin", [0.0, -0.01, math.nan, math.inf])
def test_nonpositive_margin_raises(margin: float) -> None:
    with pytest.raises(ValueError, match="margin expects a positive number"):
        equivalence(0.0, 0.1, 4, margin)


def test_detectable_difference_has_nominal_power() -> None:
    """By the noncentral t, which the sum of two quantiles approximates."""
    for degrees in (4, 20, 200):
        effect = detectable(1.0, degrees)
        power = stats.nct.sf(stats.t.ppf(0.975, degrees), degrees, effect)
        assert power == pytest.approx(0.8, abs=0.03)


def test_corrected_interval_by_hand() -> None:
    """Five differences with mean 0.02 and variance 0.00025; t of 4 degrees of freedom at 97.5% is 2.776445."""
    d = [0.0, 0.01, 0.02, 0.03, 0.04]
    found = corrected_resampled_difference(d, n_train=700, n_test=200)
    reach = 2.776445 * np.sqrt((1 / 5 + 200 / 700) * 0.00025)
    assert found.mean == pytest.approx(0.02)
    assert (found.low, found.high) == pytest.approx((0.02 - reach, 0.02 + reach), rel=1e-6)
    # The test and the interval agree: an interval that ends at 0 has p = 1 - level.
    level = 1 - found.p
    edge = corrected_resampled_difference(d, n_train=700, n_test=200, level=level)
    assert edge.low == pytest.approx(0, abs=1e-12)


@pytest.mark.slow
def test_corrected_interval_covers_where_plain_one_does_not() -> None:
    """Splits of one dataset whose cases differ from the population: the plain interval misses its true difference."""
    rng = np.random.default_rng(0)
    missed = np.zeros(2)
    for _ in range(300):
        cases = rng.normal(size=100)  # the true difference is 0
        d = [cases[rng.permutation(100)[:30]].mean() for _ in range(10)]
        corrected = corrected_resampled_difference(d, n_train=70, n_test=30)
        plain = corrected_resampled_difference(d, n_train=1, n_test=0)
        missed += [not one.low <= 0 <= one.high for one in (corrected, plain)]
    assert missed[0] / 300 < 0.08
    assert missed[1] / 300 > 0.2


def test_equal_differences_have_no_interval() -> None:
    for d in ([0.5] * 3, [0.3 - 0.2, 0.4 - 0.3, 0.5 - 0.4]):
        found = corrected_resampled_difference(d, n_train=2, n_test=1)
        assert found.mean == pytest.approx(d[0])
        assert np.isnan([found.low, found.high, found.p]).all()


def test_two_splits_have_no_interval() -> None:
    """With one degree of freedom the interval of two AUCs' difference would be -2.146 to 1.655."""
    found = corrected_resampled_difference([-0.1, -0.39], n_train=100, n_test=50)
    assert found.mean == pytest.approx(-0.245)
    assert np.isnan([found.low, found.high, found.p]).all()


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=6), st.floats(0, 3))
def test_interval_is_clipped_to_range(d: list[float], ratio: float) -> None:
    found = corrected_resampled_difference(d, n_train=1, n_test=ratio)
    if np.isfinite(found.low):
        assert -1 <= found.low <= found.mean <= found.high <= 1
    free = corrected_resampled_difference(d, n_train=1, n_test=ratio, bounds=(-np.inf, np.inf))
    # Cut to what is possible, not made otherwise.
    np.testing.assert_array_equal([found.low, found.high], np.clip([free.low, free.high], -1, 1))
    assert found.p == free.p or np.isnan([found.p, free.p]).all()


def test_out_of_range_differences_raise() -> None:
    with pytest.raises(ValueError, match=r"expected differences from -1.0 to 1.0 \(bounds=\), got"):
        corrected_resampled_difference([0.1, 0.2, 3.0], n_train=2, n_test=1)


@pytest.mark.parametrize("wrong", [[0.1], [0.1, np.nan], [[0.1, 0.2]], []])
def test_invalid_differences_raise(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="at least two finite differences"):
        corrected_resampled_difference(wrong, n_train=2, n_test=1)


def test_independent_difference_combines_both_widths() -> None:
    assert independent_difference((0.8, 0.77, 0.84), (0.7, 0.66, 0.73)) == pytest.approx(
        (0.1, 0.1 - np.hypot(0.03, 0.03), 0.1 + np.hypot(0.04, 0.04))
    )
    mean, low, high = independent_difference((0.8, np.nan, np.nan), (0.7, 0.6, 0.8))
    assert mean == pytest.approx(0.1)
    assert np.isnan([low, high]).all()
