"""Limits of an axis, set by the methods that matter: those near the reference.

A method far off, such as a table alone where the images decide, would squash the differences between all others. It is
an outlier: marked at the edge of the axis, with its value.
"""

from collections.abc import Sequence

import numpy as np

from mmfusion.metrics.ranking import Floats

STEPS = (1, 2, 2.5, 5, 10)
"""Steps between the ticks of an axis, times a power of ten: what readers count in."""

_HALF_WIDTHS, _MEDIANS = 3.0, 2.0
"""A value matters within so many typical half-widths of an interval, or typical distances, of the center."""


def reach(values: Floats, half_widths: Floats, center: float | None = None) -> tuple[float, float]:
    """The range of the values that matter.

    Args:
        values: Shape ``(n,)``; NaN is ignored.
        half_widths: Shape ``(n,)``, half the length of each value's interval; NaN where there is none.
        center: The reference's value; None: the median.

    Returns:
        Center less and plus the larger of three times the median half-width and twice the median distance from the
        center; infinite without a value.
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return -np.inf, np.inf
    middle = float(np.median(known)) if center is None or not np.isfinite(center) else center
    widths = half_widths[np.isfinite(half_widths)]
    typical = float(np.median(widths)) if len(widths) else 0.0
    far = max(_HALF_WIDTHS * typical, _MEDIANS * float(np.median(np.abs(known - middle))))
    # Where most values are equal nothing is typical, and all matter.
    return (middle - far, middle + far) if far > 0 else (-np.inf, np.inf)


def limits(
    groups: Sequence[Floats], span: tuple[float, float] = (-np.inf, np.inf), *, least: float = 0.01
) -> tuple[float, float]:
    """Ends of an axis for some values, with a margin.

    Args:
        groups: The values, of any shape; NaN is ignored.
        span: Where values lie beyond, the axis ends there.
        least: Smallest length.
    """
    values = np.concatenate([np.ravel(group) for group in groups]) if groups else np.empty(0)
    values = np.clip(values[np.isfinite(values)], *span)
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * max(high - low, least)
    return low - margin, high + margin
