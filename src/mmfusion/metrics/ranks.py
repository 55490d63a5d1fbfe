"""Rank intervals from paired comparisons."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmfusion.metrics.paired_tests import holm
from mmfusion.metrics.ranking import Floats


class RankInterval(NamedTuple):
    """The ranks that a method may have.

    Attributes:
        best: 1 more than the number of methods that are significantly better.
        worst: The number of methods less that of those that are significantly worse.
    """

    best: int
    worst: int


def rank_intervals(better: ArrayLike, p: ArrayLike, *, level: float = 0.95) -> list[RankInterval]:
    """An interval for the rank of each method (Mogstad et al., Review of Economic Studies 91:476, 2024).

    A method is compared with every other one; Holm's correction over these pairs makes all of its comparisons hold
    together at the level, and with them its interval.

    Args:
        better: Shape ``(m, m)``, positive where the row's method has the better estimate of the two.
        p: Shape ``(m, m)``, two-sided probabilities of the paired differences; NaN is no test, and separates nothing.
            The diagonal is ignored.
        level: Coverage of each interval, in (0, 1).

    Returns:
        One per method.

    Raises:
        ValueError: If shapes do not fit.
    """
    ahead, values = np.asarray(better, dtype=np.float64), np.asarray(p, dtype=np.float64)
    m = len(values)
    if values.shape != (m, m) or ahead.shape != (m, m):
        raise ValueError(f"rank_intervals expects two matrices (m, m), got {ahead.shape} and {values.shape}")
    out = []
    for row in range(m):
        others: NDArray[np.bool_] = np.arange(m) != row
        shown = holm(values[row, others]) < 1 - level
        direction: Floats = ahead[row, others]
        out.append(RankInterval(1 + int((shown & (direction < 0)).sum()), m - int((shown & (direction > 0)).sum())))
    return out


def rank_text(interval: RankInterval | Sequence[int]) -> str:
    """``3``, ``2 to 7``."""
    best, worst = interval
    return f"{best}" if best == worst else f"{best} to {worst}"
