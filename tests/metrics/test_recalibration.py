import numpy as np
import pytest

from mmfusion.metrics.recalibration import FEWEST, recalibration


@pytest.mark.slow
def test_recovers_simulated_slope_and_intercept() -> None:
    rng = np.random.default_rng(4)
    odds = rng.normal(size=40_000)
    positive = rng.random(len(odds)) < 1 / (1 + np.exp(-odds))
    for slope, intercept in ((1.0, 0.0), (2.0, 0.0), (1.0, 0.7)):
        # Predicted more extremely by the slope, or more often by the intercept, than is so.
        p = 1 / (1 + np.exp(-(slope * odds + intercept)))
        found = recalibration(p, positive)
        assert found.slope.value == pytest.approx(1 / slope, abs=0.04)
        if slope == 1:
            assert found.intercept.value == pytest.approx(-intercept, abs=0.04)
            assert found.intercept.low < -intercept < found.intercept.high
        assert found.slope.low < 1 / slope < found.slope.high


def test_matches_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    p = rng.uniform(0.05, 0.95, 200)
    positive = rng.random(200) < p**2
    odds = np.log(p / (1 - p))[:, None]
    wanted = LogisticRegression(C=np.inf, tol=1e-10).fit(odds, positive).coef_[0, 0]
    assert recalibration(p, positive).slope.value == pytest.approx(wanted, abs=1e-5)


def test_groups_widen_interval() -> None:
    rng = np.random.default_rng(2)
    p = rng.uniform(0.1, 0.9, 60)
    positive = rng.random(60) < p
    alone = recalibration(p, positive)
    # Every case twice is no more knowledge.
    twice = recalibration(np.tile(p, 2), np.tile(positive, 2), [f"g{i}" for i in range(60)] * 2)
    assert twice.slope.value == pytest.approx(alone.slope.value, abs=1e-6)
    assert twice.slope.error == pytest.approx(alone.slope.error, rel=1e-3)
    few = np.arange(60) < FEWEST - 1
    assert np.isnan(recalibration(p, few).slope.low)
    assert np.isfinite(recalibration(p, few).slope.value)


@pytest.mark.parametrize(
    ("p", "positive", "intercept", "slope"),
    [
        ([0.2, 0.8, 0.7], [True] * 3, False, False),
        ([0.2, 0.8, 0.7], [False] * 3, False, False),
        ([0.5] * 4, [True, False] * 2, True, False),
        ([0.1, 0.2, 0.8, 0.9], [False, False, True, True], True, False),  # separated: no slope is steep enough
        ([0.0, 1.0, 0.0, 1.0], [False, True, True, False], True, True),
    ],
)
def test_unidentifiable_fit_is_undefined(p: list[float], positive: list[bool], intercept: bool, slope: bool) -> None:
    found = recalibration(np.array(p), np.array(positive))
    assert np.isfinite(found.intercept.value) == intercept
    assert np.isfinite(found.slope.value) == slope
