import time
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.metrics import intervals
from mmfusion.metrics.intervals import corrected_resampled_difference, estimates, resample


def weights(*arguments: object, **options: object) -> np.ndarray:
    return np.concatenate(list(resample(*arguments, **options)))


def test_each_class_keeps_its_number_of_cases() -> None:
    y = np.array([0] * 30 + [1] * 5 + [2])
    w = weights(y, n_resamples=50)
    assert w.shape == (50, 36)
    np.testing.assert_array_equal(w @ np.eye(3)[y], np.tile([30, 5, 1], (50, 1)))


def test_a_group_comes_and_goes_together() -> None:
    y = np.array([0, 0, 1, 1, 0, 1])
    groups = ["a", "a", "b", "b", "c", "d"]
    w = weights(y, groups, n_resamples=40)
    np.testing.assert_array_equal(w[:, 0], w[:, 1])
    np.testing.assert_array_equal(w[:, 2], w[:, 3])
    # Two groups of each class are drawn, whatever their sizes.
    np.testing.assert_array_equal(w[:, 0] + w[:, 4], 2)
    assert len(np.unique(w[:, 0])) == 3


def test_a_group_of_mixed_labels_counts_once() -> None:
    w = weights(np.array([0, 1, 1, 0]), ["a", "a", "a", "b"], n_resamples=20)
    # "a" is the only group of class 1 and "b" of class 0: each is drawn once, every time.
    np.testing.assert_array_equal(w, 1)


def test_the_seed_decides_and_the_blocks_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    y = np.arange(20) % 3
    first = weights(y, n_resamples=30, seed=1)
    monkeypatch.setattr(intervals, "BLOCK", 100)
    np.testing.assert_array_equal(first, weights(y, n_resamples=30, seed=1))
    assert (first != weights(y, n_resamples=30, seed=2)).any()


def test_draws_are_uniform() -> None:
    w = weights(np.zeros(10, dtype=int), n_resamples=4000)
    # Each case is drawn once on average, with the variance of a binomial, 0.9.
    np.testing.assert_allclose(w.mean(axis=0), 1, atol=0.06)
    np.testing.assert_allclose(w.var(axis=0), 0.9, atol=0.1)


def test_groups_must_fit() -> None:
    with pytest.raises(ValueError, match="2 groups and 3 cases"):
        weights(np.array([0, 1, 0]), ["a", "b"])


def synthetic(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    p1 = 1 / (1 + np.exp(-(rng.normal(size=n) + y)))
    return np.stack([1 - p1, p1], axis=1), y


def test_the_error_of_auc_is_that_of_hanley_and_mcneil() -> None:
    p, y = synthetic(400, seed=0)
    found = estimates(p, y)["auc"]
    a, n = found.value, 200
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    formula = np.sqrt((a * (1 - a) + (n - 1) * (q1 - a * a) + (n - 1) * (q2 - a * a)) / n**2)
    assert found.error == pytest.approx(formula, rel=0.15)
    assert found.low < found.value < found.high
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(found.error, rel=0.1)


def test_copies_of_a_case_do_not_narrow_the_interval() -> None:
    p, y = synthetic(60, seed=1)
    once = estimates(p, y, n_resamples=500)["auc"]
    thrice = estimates(
        np.repeat(p, 3, axis=0), np.repeat(y, 3), [str(i) for i in np.repeat(np.arange(60), 3)], n_resamples=500
    )["auc"]
    naive = estimates(np.repeat(p, 3, axis=0), np.repeat(y, 3), n_resamples=500)["auc"]
    assert thrice.error == pytest.approx(once.error, rel=0.15)
    assert naive.error < 0.7 * once.error


def test_what_is_undefined_has_no_interval() -> None:
    found = estimates([[0.4, 0.6], [0.7, 0.3]], [1, 1], n_resamples=20)["auc"]
    assert found.to_dict() == {"value": None, "low": None, "high": None, "error": None}


@pytest.mark.slow
def test_two_thousand_cases_and_resamples_take_seconds() -> None:
    p, y = synthetic(2000, seed=2)
    began = time.process_time()
    estimates(p, y)
    assert time.process_time() - began < 10


def test_the_corrected_interval_by_hand() -> None:
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
def test_a_plain_test_would_find_too_much() -> None:
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


def test_differences_without_spread() -> None:
    for d in ([0.5] * 3, [0.3 - 0.2, 0.4 - 0.3, 0.5 - 0.4]):
        found = corrected_resampled_difference(d, n_train=2, n_test=1)
        assert found.mean == pytest.approx(d[0])
        assert np.isnan([found.low, found.high, found.p]).all()


def test_two_splits_have_no_interval() -> None:
    """With one degree of freedom that of two AUCs' difference went from -2.146 to 1.655."""
    found = corrected_resampled_difference([-0.1, -0.39], n_train=100, n_test=50)
    assert found.mean == pytest.approx(-0.245)
    assert np.isnan([found.low, found.high, found.p]).all()


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=6), st.floats(0, 3))
def test_the_interval_stays_in_the_range_of_a_difference(d: list[float], ratio: float) -> None:
    found = corrected_resampled_difference(d, n_train=1, n_test=ratio)
    if np.isfinite(found.low):
        assert -1 <= found.low <= found.mean <= found.high <= 1
    free = corrected_resampled_difference(d, n_train=1, n_test=ratio, bounds=(-np.inf, np.inf))
    # Cut to what is possible, not made otherwise.
    np.testing.assert_array_equal([found.low, found.high], np.clip([free.low, free.high], -1, 1))
    assert found.p == free.p or np.isnan([found.p, free.p]).all()


def test_differences_that_the_metric_cannot_have() -> None:
    with pytest.raises(ValueError, match=r"expected differences from -1.0 to 1.0 \(bounds=\), got"):
        corrected_resampled_difference([0.1, 0.2, 3.0], n_train=2, n_test=1)


@pytest.mark.parametrize("wrong", [[0.1], [0.1, np.nan], [[0.1, 0.2]], []])
def test_wrong_differences(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="at least two finite differences"):
        corrected_resampled_difference(wrong, n_train=2, n_test=1)


@pytest.mark.slow
@pytest.mark.parametrize("auc", [0.75, 0.9])
@pytest.mark.parametrize("cases_of_a_patient", [1, 2])
def test_the_interval_holds_the_true_auc_as_often_as_it_says(auc: float, cases_of_a_patient: int) -> None:
    """320 patients, 30% of them positive, whose cases share half of their variance; nominal 95%."""
    rng = np.random.default_rng(0)
    n, draws = 320, 700
    y = np.repeat(np.arange(n) % 10 < 3, cases_of_a_patient).astype(int)
    groups = [str(i) for i in np.repeat(np.arange(n), cases_of_a_patient)]
    shift = np.sqrt(2) * NormalDist().inv_cdf(auc)
    held = 0
    for draw in range(draws):
        patient = np.repeat(rng.normal(size=n), cases_of_a_patient)
        own = rng.normal(size=len(y))
        score = np.sqrt(0.5) * (patient + own) + shift * y
        p1 = 1 / (1 + np.exp(-score))
        found = estimates(np.stack([1 - p1, p1], 1), y, groups, n_resamples=200, seed=draw)["auc"]
        held += found.low <= auc <= found.high
    assert 0.93 <= held / draws <= 0.97


def test_resamples_that_lost_a_class_are_left_out() -> None:
    """The only case of class 2 is in a patient who counts to class 0, so that a resample may lack it."""
    y = np.array([0, 0, 2, 0, 0, 1, 1])
    groups = ["a", "a", "a", "b", "c", "d", "e"]
    p = np.full((7, 3), 0.2)
    # Class 2 is called where it is not: without it the recalls are better.
    p[np.arange(7), [0, 0, 1, 0, 0, 1, 1]] = 0.6
    found = estimates(p, y, groups, n_resamples=300)
    assert found["balanced_accuracy"].value == pytest.approx(2 / 3)
    assert found["balanced_accuracy"].high == pytest.approx(2 / 3)
    assert found["accuracy"].high == 1


def test_an_interval_needs_most_of_the_resamples() -> None:
    drawn = np.array([0.1, 0.2, np.nan, np.nan])
    assert intervals.estimate(0.2, drawn).low == pytest.approx(0.1025)
    found = intervals.estimate(0.2, np.append(drawn, np.nan))
    assert found.to_dict() == {"value": 0.2, "low": None, "high": None, "error": None}


def test_without_resamples_there_is_no_interval() -> None:
    found = estimates([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]], [0, 1, 0], n_resamples=0)["auc"]
    assert found.value == 1.0
    assert np.isnan([found.low, found.high]).all()
