import numpy as np
import pytest

from mmfusion.metrics.classification import Prepared, calibration, evaluate, ranks
from mmfusion.metrics.weighted import Calibration, Counts, Ranks, mean_defined

P = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.8, 0.2]])
Y = np.array([0, 0, 1, 1])


def test_one_column_per_resample() -> None:
    """Unweighted, then the second case twice and the first not at all, then all zero."""
    w = np.array([[1.0, 0, 0], [1, 2, 0], [1, 1, 0], [1, 1, 0]])
    np.testing.assert_allclose(Ranks(P, Y)(w)["auc"], [3 / 4, 1 / 2, np.nan])
    found = Counts(P, Y, 0.65, ("a", "b"))(w)
    np.testing.assert_allclose(found["accuracy"], [2 / 4, 1 / 4, np.nan])
    # At 0.65 the second case is called negative, which the likeliest class does not know.
    np.testing.assert_allclose(found["specificity"], [1, 1, np.nan])
    np.testing.assert_allclose(found["accuracy_a"], [1 / 2, 0, np.nan])
    brier = (0.01 + 0.36 + 0.09 + 0.64) / 4, (2 * 0.36 + 0.09 + 0.64) / 4
    np.testing.assert_allclose(Calibration(P, Y)(w)["brier"], [*brier, np.nan])


@pytest.mark.parametrize("k", [2, 3])
def test_prepared_metrics_match_direct_evaluation(k: int) -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(k), 30)
    y, w = rng.integers(k, size=30), rng.integers(0, 3, (5, 30)).astype(float)
    found = Prepared(p, y, threshold=0.3)(np.ascontiguousarray(w.T))
    wanted = evaluate(p, y, w, threshold=0.3)
    assert list(found) == list(wanted)
    assert all((found[name] == wanted[name]).all() for name in found)
    for own in (ranks(p, y, w), calibration(p, y, w)):
        assert all((own[name] == wanted[name]).all() for name in own)


def test_mean_defined_ignores_nan() -> None:
    np.testing.assert_array_equal(mean_defined(np.array([[1.0, np.nan], [np.nan, np.nan]])), [1, np.nan])
