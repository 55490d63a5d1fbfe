import numpy as np
import pytest

from mmfusion.metrics import bootstrap
from mmfusion.metrics.bootstrap import percentiles, resample


def weights(*arguments: object, **options: object) -> np.ndarray:
    return np.concatenate(list(resample(*arguments, **options)))


def test_resamples_are_stratified_by_class() -> None:
    y = np.array([0] * 30 + [1] * 5 + [2])
    w = weights(y, n_resamples=50)
    assert w.shape == (50, 36)
    np.testing.assert_array_equal(w @ np.eye(3)[y], np.tile([30, 5, 1], (50, 1)))


def test_resamples_draw_whole_groups() -> None:
    y = np.array([0, 0, 1, 1, 0, 1])
    groups = ["a", "a", "b", "b", "c", "d"]
    w = weights(y, groups, n_resamples=40)
    np.testing.assert_array_equal(w[:, 0], w[:, 1])
    np.testing.assert_array_equal(w[:, 2], w[:, 3])
    # Two groups of each class are drawn, whatever their sizes.
    np.testing.assert_array_equal(w[:, 0] + w[:, 4], 2)
    assert len(np.unique(w[:, 0])) == 3


def test_group_with_mixed_labels_counts_once() -> None:
    w = weights(np.array([0, 1, 1, 0]), ["a", "a", "a", "b"], n_resamples=20)
    # "a" is the only group of class 1 and "b" of class 0: each is drawn once, every time.
    np.testing.assert_array_equal(w, 1)


def test_seed_determines_resamples_and_block_size_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    y = np.arange(20) % 3
    first = weights(y, n_resamples=30, seed=1)
    monkeypatch.setattr(bootstrap, "BLOCK", 100)
    np.testing.assert_array_equal(first, weights(y, n_resamples=30, seed=1))
    assert (first != weights(y, n_resamples=30, seed=2)).any()


def test_draws_are_uniform() -> None:
    w = weights(np.zeros(10, dtype=int), n_resamples=4000)
    # Each case is drawn once on average, with the variance of a binomial, 0.9.
    np.testing.assert_allclose(w.mean(axis=0), 1, atol=0.06)
    np.testing.assert_allclose(w.var(axis=0), 0.9, atol=0.1)


def test_wrong_number_of_groups_raises() -> None:
    with pytest.raises(ValueError, match="2 groups and 3 cases"):
        weights(np.array([0, 1, 0]), ["a", "b"])


def test_percentiles_need_most_resamples_defined() -> None:
    drawn = np.array([0.1, 0.2, np.nan, np.nan])
    assert percentiles(drawn)[0] == pytest.approx(0.1025)
    assert np.isnan(percentiles(np.append(drawn, np.nan))).all()
