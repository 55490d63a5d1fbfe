"""Gross outliers of a column, such as 1e12 among ages, which its statistics leave out."""

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.schema.cells import Floats

GAP = 100.0
"""Distance of outliers from the median, in widths of the range of all other values."""
MOST = 0.05
"""Largest share of outliers."""
SPREAD = 0.8
"""If this share of the values is a single value, as in counts that are mostly zero, there are no outliers."""
YEARS = 1800.0, 2200.0
"""Range of plausible dates: 9999-12-31 and 0001-01-01 stand for an unknown date."""
FEWEST = 10
"""Fewer values have no outliers."""


def usual(values: Floats) -> NDArray[np.bool_]:
    """Whether each value is used for the statistics of its column.

    Distances from the median are checked in ascending order, after those of the inner 95%. The first one that is more
    than :data:`GAP` times the width of all values before it starts the outliers. Heavy tails have no such gap: of
    20,000 simulated columns of 200 log-normal values, the logarithm of standard deviation 1.5, none had one.

    Args:
        values: Shape ``(n,)``, finite.

    Returns:
        Shape ``(n,)`` bool; at most :data:`MOST` of them are False, or one of fewer than 20.
    """
    n = len(values)
    every = np.ones(n, dtype=np.bool_)
    if n < FEWEST:
        return every
    n_inner = n - max(1, int(MOST * n))
    middle = np.partition(values, ((n - 1) // 2, n // 2))[[(n - 1) // 2, n // 2]]
    # Halves, since the difference of two large numbers could overflow.
    distances = np.abs(values / 2 - middle.mean() / 2)
    if np.count_nonzero(distances > distances.max() / GAP) > n - n_inner:
        return every  # nearly all columns: no need to sort
    order = np.argsort(distances, kind="stable")
    if not distances[order[int(SPREAD * n) - 1]]:
        return every
    low = np.minimum.accumulate(values[order] / 2)
    high = np.maximum.accumulate(values[order] / 2)
    width = (high - low)[n_inner - 1 : -1]
    gaps = distances[order][n_inner:] / GAP > width
    if gaps.any():
        every[order[n_inner + int(gaps.argmax()) :]] = False
    return every


def usual_years(values: Floats) -> NDArray[np.bool_]:
    """The same of dates, in years: those within :data:`YEARS`, or all if none is."""
    within = (values >= YEARS[0]) & (values < YEARS[1])
    return within if within.any() else np.ones(len(values), dtype=np.bool_)
