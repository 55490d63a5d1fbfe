"""Temperature scaling: one number, fitted on validation, that makes probabilities as sure as they have a right to be.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2. It changes no case's likeliest class.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmfusion.metrics.classification import checked
from mmfusion.metrics.ranking import Floats
from mmfusion.utils.optional import need

BOUNDS = (0.05, 20.0)
"""The lowest and the highest temperature that is fitted."""
UNDETERMINED = 1.0
"""The temperature that changes nothing, where validation determines none."""


def fit_temperature(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """The temperature ``T`` with the least mean log loss of ``softmax(log p / T)``.

    Args:
        probabilities: Shape ``(n, k)``, of validation cases; a 0 counts as the smallest normal float.
        labels: Shape ``(n,)``, class indices.

    Returns:
        Above 1: the model was too sure. Within :data:`BOUNDS`, the nearer bound where the loss still falls beyond
        it, as it does for a model that is wrong more often than chance. :data:`UNDETERMINED`, which is 1, where nothing
        can be learned: where all labels are of one class, or no case has another class likelier than its own, so that
        the loss falls for ever with ``T``.

    Raises:
        ValueError: If shapes do not fit, a probability is not finite, or a label is out of range.
    """
    p, y = checked(probabilities, labels)
    p_label = p[np.arange(len(y)), y]
    if (y == y[0]).all() or (p_label >= p.max(axis=1)).all():
        return UNDETERMINED
    scores = _log(p)

    def loss(temperature: float) -> float:
        scaled = scores / temperature
        return float((_log_sum_exp(scaled) - scaled[np.arange(len(y)), y]).mean())

    # Convex in 1/T, so of one minimum in log T, where the bounds lie as far from 1 on both sides.
    optimum = need("scipy.optimize", "bench").minimize_scalar(
        lambda log_temperature: loss(float(np.exp(log_temperature))),
        bounds=tuple(np.log(BOUNDS)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    # The method never tries the bounds themselves.
    return min((float(np.exp(optimum.x)), *BOUNDS), key=loss)


def apply_temperature(probabilities: ArrayLike, temperature: float) -> Floats:
    """``softmax(log p / T)``.

    Args:
        probabilities: Shape ``(n, k)``; a 0 counts as the smallest normal float.
        temperature: Positive; 1 changes nothing.

    Returns:
        Shape ``(n, k)``.

    Raises:
        ValueError: If the temperature is not positive and finite.
    """
    if not 0 < temperature < np.inf:
        raise ValueError(f"a temperature is expected to be positive and finite, got {temperature}")
    scaled = _log(np.asarray(probabilities, dtype=np.float64)) / temperature
    scaled_probabilities: Floats = np.exp(scaled - _log_sum_exp(scaled)[:, None])
    return scaled_probabilities


def _log(p: Floats) -> Floats:
    logs: Floats = np.log(np.maximum(p, np.finfo(np.float64).tiny))
    return logs


def _log_sum_exp(x: Floats) -> NDArray[np.float64]:
    most = x.max(axis=1)
    total: Floats = most + np.log(np.exp(x - most[:, None]).sum(axis=1))
    return total
