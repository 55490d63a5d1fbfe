import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mmfusion.metrics.bootstrap import resample
from mmfusion.metrics.cases import TestCases
from mmfusion.metrics.classification import ranks
from mmfusion.metrics.few_positives import MOST, auc_variance, hanley_mcneil, newcombe, wilson
from mmfusion.metrics.paired_tests import delong


def predicted(n: int, k: int, seed: int, shift: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    z = rng.normal(size=(n, k)) + shift * np.eye(k)[y]
    return np.exp(z) / np.exp(z).sum(1, keepdims=True), y


def test_variance_of_two_classes_matches_delong() -> None:
    """Where Hanley and McNeil's variance is no greater; else it is between that and half as much again."""
    for seed in range(8):
        p, y = predicted(60, 2, seed)
        found = auc_variance(p[None], TestCases.of(y, None, 2))
        own = delong(p[None, :, 1], y)
        wanted = float(own.covariance[0, 0])
        hanley = float(hanley_mcneil(own.auc, 30, 30)[0])
        assert found.of_mean == pytest.approx(wanted * min(MOST, 1 + max(hanley / wanted - 1, 0) / 3))
        assert found.of_single == pytest.approx(found.of_mean)


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("per_group", [1, 2])
def test_variance_of_classes_and_groups_matches_bootstrap(k: int, per_group: int) -> None:
    p, y = predicted(240, k, seed=3)
    p, y = np.repeat(p, per_group, axis=0), np.repeat(y, per_group)
    groups = [str(i // per_group) for i in range(len(y))]
    drawn = np.concatenate([ranks(p, y, block)["auc"] for block in resample(y, groups, n_resamples=3000)])
    found = auc_variance(p[None], TestCases.of(y, groups, k))
    assert drawn.var() * 0.93 < found.of_mean < drawn.var() * 1.3


def test_equal_runs_do_not_reduce_variance() -> None:
    p, y = predicted(60, 3, seed=4)
    cases = TestCases.of(y, None, 3)
    one, three = auc_variance(p[None], cases), auc_variance(np.stack([p] * 3), cases)
    assert tuple(one) == pytest.approx(tuple(three))
    other, _ = predicted(60, 3, seed=5)
    both = auc_variance(np.stack([p, other]), cases)
    assert both.of_mean < both.of_single


def test_class_with_one_group_has_no_variance() -> None:
    p = predicted(7, 2, seed=0)[0]
    for cases in (TestCases.of(np.arange(7) == 0, None, 2), TestCases.of(np.zeros(7), None, 2)):
        assert np.isnan(auc_variance(p[None], cases)).all()
    # Both positives are one patient's.
    assert np.isnan(auc_variance(p[None], TestCases.of(np.arange(7) < 2, list("aabcdef"), 2))).all()


@given(st.floats(0, 1), st.floats(0.5, 300))
def test_wilson_inverts_score_test(share: float, n: float) -> None:
    low, high = wilson(share, n)
    assert 0 <= low <= share <= high <= 1
    for end in (low, high):
        if 1e-6 < end < 1 - 1e-6 and abs(end - share) > 1e-6:
            assert abs(share - end) == pytest.approx(1.959964 * np.sqrt(end * (1 - end) / n), rel=1e-5)


def test_wilson_matches_scipy() -> None:
    wanted = stats.binomtest(7, 10).proportion_ci(method="wilson")
    assert wilson(0.7, 10) == pytest.approx((wanted.low, wanted.high))


@pytest.mark.parametrize(("share", "n"), [(1.1, 5), (-0.1, 5), (0.5, 0), (np.nan, 5)])
def test_wilson_invalid_share_raises(share: float, n: float) -> None:
    with pytest.raises(ValueError, match="expects a share"):
        wilson(share, n)


@given(st.floats(0, 1), st.integers(2, 60), st.integers(2, 60))
def test_newcombe_solves_its_equation(auc: float, n1: int, n0: int) -> None:
    low, high = newcombe(auc, n1, n0)
    assert 0 <= low <= auc <= high <= 1
    for end in (low, high):
        if 0 < end < 1 and abs(end - auc) > 1e-9:
            error = float(np.sqrt(hanley_mcneil(np.array(end), n1, n0)))
            assert abs(auc - end) == pytest.approx(1.959964 * error, rel=1e-4)
