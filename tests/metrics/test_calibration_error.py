import numpy as np
import pytest

from mmfusion.metrics.calibration_error import ECE_BINS, CalibrationError, confidence_bins


def by_hand(confidence: np.ndarray, hit: np.ndarray) -> float:
    """Bin by bin: the mean of both corrections, each as an integral over the noise."""
    gaps, bins, total = confidence - hit, confidence_bins(confidence), 0.0
    z = np.linspace(-8, 8, 200_001)
    for number in np.unique(bins):
        own = gaps[bins == number]
        if len(own) > 1:
            g, noise = own.mean(), z * own.std(ddof=1) / np.sqrt(len(own))
            resampled = 2 * abs(g) - np.abs(g + noise)
            halves = np.sign(g + noise) * (g - noise)
            total += len(own) * np.average((resampled + halves) / 2, weights=np.exp(-(z**2) / 2))
    return max(total, 0.0) / len(gaps)


def test_matches_definition() -> None:
    rng = np.random.default_rng(0)
    confidence, hit = rng.random(60), rng.random(60) < 0.2
    found = CalibrationError(confidence, hit)(np.ones((60, 1)))
    assert found[0] == pytest.approx(by_hand(confidence, hit), abs=1e-4)
    assert found[0] > 0.1


def test_bins_include_upper_edge() -> None:
    np.testing.assert_array_equal(confidence_bins(np.array([0.0, 1 / 15, 1 / 15 + 1e-9, 1.0])), [0, 0, 1, ECE_BINS - 1])


def test_bin_of_one_case_is_ignored() -> None:
    assert CalibrationError(np.array([0.9, 0.1]), np.array([False, False]))(np.ones((2, 1)))[0] == 0


def test_zero_weight_equals_removed_case() -> None:
    rng = np.random.default_rng(1)
    confidence, hit = rng.random(40), rng.random(40) < 0.5
    weights = np.stack([np.arange(40) < 30, np.zeros(40)], axis=1).astype(float)
    found = CalibrationError(confidence, hit)(weights)
    assert found[0] == pytest.approx(by_hand(confidence[:30], hit[:30]), abs=1e-4)
    assert np.isnan(found[1])


@pytest.mark.slow
@pytest.mark.parametrize("overconfident", [0.0, 0.1])
def test_bias_is_small(overconfident: float) -> None:
    """Confidences between 0.6 and 0.9 whose cases are right that often, or a tenth less."""
    rng = np.random.default_rng(2)
    found = []
    for _ in range(600):
        confidence = rng.uniform(0.6, 0.9, 400)
        hit = rng.random(400) < confidence - overconfident
        found.append(CalibrationError(confidence, hit)(np.ones((400, 1)))[0])
    # The usual ECE of the calibrated model is 0.04 too high here.
    assert np.mean(found) == pytest.approx(overconfident, abs=0.015)


def test_constant_gap_has_no_noise_correction() -> None:
    """Every case of the bin has the same gap, so that the standard error is 0."""
    assert CalibrationError(np.full(4, 0.7), np.ones(4, dtype=bool))(np.ones((4, 1)))[0] == pytest.approx(0.3)
    assert CalibrationError(np.ones(4), np.ones(4, dtype=bool))(np.ones((4, 1)))[0] == 0
