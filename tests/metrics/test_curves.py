import numpy as np
import pytest
from sklearn import metrics as sk

from mmfusion.metrics.curves import GRID, pointwise_band, precision_recall_curve, risk_coverage_curve, roc_curve


def test_weight_equals_duplicated_cases() -> None:
    rng = np.random.default_rng(0)
    scores, positive = rng.normal(size=40).round(1), rng.random(40) < 0.4
    weights = rng.integers(0, 3, (40, 1)).astype(float)
    many = np.repeat(np.arange(40), weights[:, 0].astype(int))
    fpr, tpr, _ = sk.roc_curve(positive[many], scores[many], drop_intermediate=False)
    drawn, area = roc_curve(scores, positive, weights)
    np.testing.assert_allclose(drawn, np.interp(GRID, fpr, tpr)[None])
    assert area == pytest.approx(sk.roc_auc_score(positive[many], scores[many]))
    _, precision = precision_recall_curve(scores, positive, weights)
    assert precision == pytest.approx(sk.average_precision_score(positive[many], scores[many]))


def test_missing_class_gives_undefined_curve() -> None:
    drawn, _ = roc_curve(np.arange(3.0), np.ones(3, dtype=bool), np.ones((3, 2)))
    assert np.isnan(drawn).all()
    drawn, area = precision_recall_curve(np.arange(3.0), np.zeros(3, dtype=bool), np.ones((3, 2)))
    assert np.isnan(drawn).all()
    assert np.isnan(area)


def test_band_ignores_undefined_resamples() -> None:
    drawn = np.array([[0.0, 0.0, np.nan], [1.0, np.nan, np.nan], [2.0, 2.0, np.nan]])
    low, high = pointwise_band(drawn, 0.5)
    np.testing.assert_allclose(low, [0.5, 0.5, np.nan])
    np.testing.assert_allclose(high, [1.5, 1.5, np.nan])


def test_risk_coverage_by_hand() -> None:
    confidence = np.array([0.9, 0.8, 0.7, 0.6])
    wrong = np.array([False, True, False, True])
    risk, area = risk_coverage_curve(confidence, wrong, np.ones((4, 1)))
    at = {coverage: risk[0, round(100 * coverage)] for coverage in (0.0, 0.25, 0.26, 0.5, 0.75, 1.0)}
    assert at == pytest.approx({0.0: 0, 0.25: 0, 0.26: 1 / 2, 0.5: 1 / 2, 0.75: 1 / 3, 1.0: 1 / 2})
    assert area == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    # Equal ones are decided together, a case of weight 0 never, and without weight there is nothing.
    assert risk_coverage_curve(np.full(4, 0.5), wrong, np.ones((4, 1)))[0].tolist() == [[0.5] * 101]
    weights = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    risk, _ = risk_coverage_curve(confidence, wrong, weights)
    assert risk[0].max() == 0
    assert np.isnan(risk[1]).all()
