import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.metrics.calibration import BOUNDS, apply_temperature, fit_temperature


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def test_temperature_of_two_classes_by_hand() -> None:
    # All at odds of 9 to 1 for class 1 and three of four right: odds of 3 to 1 are due, and 9 ** (1/T) = 3.
    p = [[0.1, 0.9]] * 4
    temperature = fit_temperature(p, [1, 1, 1, 0])
    assert temperature == pytest.approx(2.0, abs=1e-4)
    np.testing.assert_allclose(apply_temperature(p, 2.0), [[0.25, 0.75]] * 4)


def test_recovers_simulated_temperature() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(40_000, 3)) * 2
    drawn = (softmax(logits / 1.7).cumsum(axis=1) < rng.random((40_000, 1))).sum(axis=1)
    assert fit_temperature(softmax(logits), drawn) == pytest.approx(1.7, rel=0.03)


def test_fitted_temperature_minimizes_loss() -> None:
    rng = np.random.default_rng(1)
    p, y = softmax(rng.normal(size=(60, 4))), rng.integers(4, size=60)
    p[np.arange(60), y] += 0.3
    p /= p.sum(axis=1, keepdims=True)

    def loss(temperature: float) -> float:
        total = 0.0
        for row, label in zip(p, y):
            powers = [value ** (1 / temperature) for value in row]
            total -= math.log(powers[label] / sum(powers))
        return total / len(y)

    best = loss(fit_temperature(p, y))
    assert all(best <= loss(temperature) + 1e-9 for temperature in np.geomspace(*BOUNDS, 200))


@pytest.mark.parametrize(
    ("p", "y", "temperature"),
    [
        pytest.param([[0.3, 0.7], [0.6, 0.4]], [1, 1], 1.0, id="one class"),
        pytest.param([[0.3, 0.7], [0.6, 0.4]], [1, 0], 1.0, id="separated"),
        pytest.param([[0.5, 0.5], [0.5, 0.5]], [1, 0], 1.0, id="knows nothing"),
        pytest.param([[1.0, 0.0], [0.0, 1.0]], [0, 1], 1.0, id="separated and sure"),
        pytest.param([[0.3, 0.7]], [1], 1.0, id="one case"),
        pytest.param([[0.3, 0.7], [0.6, 0.4]], [0, 1], BOUNDS[1], id="always wrong"),
        pytest.param([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], [0, 1, 1], BOUNDS[1], id="sure and wrong"),
        pytest.param([[0.501, 0.499]] * 1000 + [[0.499, 0.501]], [0] * 1000 + [0], 1.0, id="one class, one error"),
        pytest.param([[0.501, 0.499]] * 99 + [[0.49999, 0.50001]], [0] * 98 + [1, 0], BOUNDS[0], id="too unsure"),
    ],
)
def test_temperature_is_bounded_without_minimum(p: list[list[float]], y: list[int], temperature: float) -> None:
    assert fit_temperature(p, y) == temperature


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0.0, 1), st.integers(0, 2)), min_size=1, max_size=12
    ),
    st.floats(*BOUNDS),
)
def test_scaled_probabilities_are_finite_and_keep_order(
    rows: list[tuple[float, float, float, int]], temperature: float
) -> None:
    p = np.array([row[:3] for row in rows]) + 1e-320
    p /= p.sum(axis=1, keepdims=True)
    fitted = fit_temperature(p, [row[3] for row in rows])
    assert BOUNDS[0] <= fitted <= BOUNDS[1]
    scaled = apply_temperature(p, temperature)
    assert np.isfinite(scaled).all()
    np.testing.assert_allclose(scaled.sum(axis=1), 1)
    # What was the likeliest is still: no other is likelier.
    assert (scaled[np.arange(len(p)), p.argmax(axis=1)] == scaled.max(axis=1)).all()


def test_apply_temperature_by_hand() -> None:
    p = np.array([[0.2, 0.3, 0.5], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(apply_temperature(p, 1.0), p, atol=1e-300, rtol=1e-12)
    roots = np.sqrt(p[0]) / np.sqrt(p[0]).sum()
    np.testing.assert_allclose(apply_temperature(p, 2.0)[0], roots)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_nonpositive_temperature_raises(temperature: float) -> None:
    with pytest.raises(ValueError, match="positive and finite"):
        apply_temperature([[0.5, 0.5]], temperature)


@pytest.mark.parametrize(
    ("p", "y", "message"),
    [
        ([[0.5, math.nan]], [0], "finite probabilities"),
        ([[0.5, 0.5]], [2], "labels expect indices"),
        ([0.5, 0.5], [0, 1], "expect probabilities"),
    ],
)
def test_invalid_inputs_raise(p: list[list[float]], y: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_temperature(p, y)
