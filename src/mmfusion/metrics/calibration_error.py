"""The expected calibration error without the bias of its absolute values."""

import numpy as np
from numpy.typing import NDArray

from mmfusion.metrics.ranking import Floats, divide, sums

ECE_BINS = 15
# Below it a standard error is rounding alone.
_ROUNDING = 1e-9
Labels = NDArray[np.int64]


def confidence_bins(confidence: Floats) -> NDArray[np.int64]:
    """Bin of each probability: :data:`ECE_BINS` equal ones, open below, closed above (Guo et al. 2017, section 2)."""
    bins: NDArray[np.int64] = np.clip(np.ceil(confidence * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
    return bins


class CalibrationError:
    """Debiased ECE of some probabilities.

    The usual ECE sums the absolute gaps ``|g|`` of the bins, to which noise adds: a calibrated model has 0.02 with
    1,500 cases and 0.09 with 100. Here each bin counts, with the standard error ``s`` of its gap,

        |g| - 2 s phi(g / s),

    the mean of two corrections: ``|g|`` less its bias in a resample of normal noise, which takes out too little, and
    the sign of one half of the cases times the gap of the other, over all halvings, which takes out too much. What bias
    is left in a bin is at most 0.27 s, instead of 0.80 s. The sum over the bins is 0 at least; a bin with a single
    case, of which no noise is known, counts 0. There is no interval: none that was tried covers what it should.

    Args:
        confidence: Shape ``(n,)``, a probability of each case.
        hit: Shape ``(n,)``, whether what it is the probability of is so.
    """

    def __init__(self, confidence: Floats, hit: NDArray[np.bool_]) -> None:
        n, gap, bins = len(confidence), confidence - hit, confidence_bins(confidence)
        rows = np.concatenate([bins, ECE_BINS + bins, 2 * ECE_BINS + bins])
        values = np.concatenate([np.ones(n), gap, gap**2])
        self._matrix = sums(rows, np.tile(np.arange(n), 3), (3 * ECE_BINS, n), values)

    def __call__(self, weights: Floats) -> Floats:
        """The error of each weighting.

        Args:
            weights: Shape ``(n, r)``, not negative, one column per weighting; a case that weighs 2 counts twice.

        Returns:
            Shape ``(r,)``, in [0, 1]; NaN where nothing has weight.
        """
        count, total, squares = (self._matrix @ weights).reshape(3, ECE_BINS, -1)
        several = count > 1
        of_bin, rest = np.where(several, count, 1.0), np.where(several, count - 1, 1.0)
        gap = total / of_bin
        # Rounding may leave a variance of equal gaps below 0.
        error = np.sqrt(np.maximum(squares / of_bin - gap**2, 0.0) / rest)
        z = np.divide(gap, error, out=np.full_like(gap, np.inf), where=error > _ROUNDING)
        unsigned = np.abs(gap) - 2 * error * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        summed = np.where(several, count * unsigned, 0.0).sum(axis=0)
        return divide(np.maximum(summed, 0.0), count.sum(axis=0))
