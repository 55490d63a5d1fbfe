import numpy as np
import pytest
from scipy import stats

from mmfusion.metrics import two_sample
from mmfusion.metrics.cases import one_per_group
from mmfusion.metrics.two_sample import levels_differ, numbers_differ, vectors_differ


def test_numbers_differ_ignores_nan() -> None:
    found = numbers_differ([1, 2, 3, np.nan], [2.5, 3.5, 4.5])
    wanted = stats.ks_2samp([1, 2, 3], [2.5, 3.5, 4.5])
    assert found == pytest.approx((wanted.statistic, wanted.pvalue))
    assert np.isnan(numbers_differ([np.nan], [1.0])).all()
    assert numbers_differ([1.0] * 5, [1.0] * 5).p == 1.0


def test_levels_differ_by_chi_square_or_permutation() -> None:
    counts = np.array([[30, 20, 50], [20, 40, 40]])
    found = levels_differ(*counts)
    assert found.p == pytest.approx(stats.chi2_contingency(counts, correction=False).pvalue)
    assert found.effect == pytest.approx(0.2)
    few = np.array([[7, 1], [2, 6]])
    assert levels_differ(*few).p == pytest.approx(stats.fisher_exact(few).pvalue, abs=0.01)
    assert levels_differ([3, 0], [0, 3]).effect == 1.0


def test_levels_differ_of_single_level_or_no_cases() -> None:
    assert levels_differ([5, 0], [9, 0]) == (0.0, 1.0)
    assert np.isnan(levels_differ([0, 0], [1, 2])).all()
    assert np.isnan(levels_differ([], [])).all()


def test_vectors_differ_has_nominal_level_and_power(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_sample, "N_PERMUTATIONS", 199)
    rng = np.random.default_rng(0)
    p = [vectors_differ(rng.normal(size=(20, 3)), rng.normal(size=(15, 3)), seed=i).p for i in range(60)]
    assert 0 <= np.mean(np.array(p) < 0.05) <= 0.15
    assert 0.3 < np.mean(p) < 0.7
    moved = vectors_differ(rng.normal(size=(40, 3)), rng.normal(size=(40, 3)) + 1.5)
    assert moved.p == 1 / 200
    assert 0.1 < moved.effect < 1
    # Of other spread alone.
    assert vectors_differ(rng.normal(size=(100, 2)), 4 * rng.normal(size=(100, 2))).p < 0.01


def test_vectors_differ_of_constant_or_too_few() -> None:
    assert vectors_differ(np.ones((3, 2)), np.ones((4, 2))) == (0.0, 1.0)
    assert np.isnan(vectors_differ(np.ones((1, 2)), np.ones((4, 2)))).all()
    assert vectors_differ(np.zeros((3, 1)), np.ones((3, 1))).effect == pytest.approx(1)


def test_vectors_differ_subsamples_many_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_sample, "MOST", 50)
    monkeypatch.setattr(two_sample, "N_PERMUTATIONS", 199)
    x = np.random.default_rng(0).normal(size=(5000, 1))
    assert vectors_differ(x, x).p > 0.05


def test_draws_one_case_per_group() -> None:
    groups = ["a", "b", "a", "c", "b", "a"]
    chosen = [one_per_group(groups, seed=seed) for seed in range(20)]
    for rows in chosen:
        assert sorted(groups[row] for row in rows) == ["a", "b", "c"]
        assert (np.diff(rows) > 0).all()
    assert len({tuple(rows) for rows in chosen}) > 3
    np.testing.assert_array_equal(chosen[0], one_per_group(groups, seed=0))
