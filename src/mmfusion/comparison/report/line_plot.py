"""Line plots over the share of missing cells, the epochs or a threshold.

On a wide picture the labels are at the ends of the lines, on a phone in a key below. The axis is set by the lines that
matter; one far off is a triangle at the edge, with its value.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mmfusion.comparison.report.axis import STEPS, limits, reach
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.drawing import draw_line, named
from mmfusion.comparison.report.labeled_plot import edge_mark, labeled
from mmfusion.comparison.report.palette import Style
from mmfusion.metrics.ranking import Floats


class Trend(NamedTuple):
    """A line.

    Attributes:
        label: Text at its right end; empty for none.
        x: Shape ``(g,)``.
        y: Shape ``(g,)``.
        style: How it is drawn.
        low: Shape ``(g,)``, lower edge of its band; None for no band.
        high: Shape ``(g,)``.
        runs: ``(x, y)`` of each run, drawn as points or thin lines.
        thin: Whether the runs are thin lines.
    """

    label: str
    x: Floats
    y: Floats
    style: Style
    low: Floats | None = None
    high: Floats | None = None
    runs: tuple[tuple[Floats, Floats], ...] = ()
    thin: bool = False


def trends(
    key: str,
    title: str,
    description: str,
    lines: Sequence[Trend],
    *,
    x: str,
    y: str,
    percent: bool = False,
    whole: bool = False,
    at: Sequence[float] | None = None,
    about: Style | None = None,
    span: tuple[float, float] = (-np.inf, np.inf),
    panel: bool = False,
) -> Picture:
    """Draw the lines.

    Args:
        key: Of the picture.
        title: Of the picture.
        description: Of the picture.
        lines: Drawn in reverse, so that the first lies on top.
        x: Label of the axis.
        y: Label of the axis.
        percent: Whether ``x`` are shares, shown in percent.
        whole: Whether ``x`` are whole numbers.
        at: Ticks of ``x``, in ascending order; those too near to the one before have no tick. None: even steps.
        about: Style of the reference's line: lines that end far from it are outliers; None: none is.
        span: Where values lie beyond, the axis ends there.
        panel: Whether it is one of several panels in a row, not over the full width.
    """
    last = [_last(line) for line in lines]
    center = next((end[1] for line, end in zip(lines, last) if line.style is about), None)
    low, high = -np.inf, np.inf
    if about is not None:
        low, high = reach(np.array([end[1] for end in last]), np.array([end[2] for end in last]), center)
    near = [not (end[1] < low or end[1] > high) for end in last]
    bands = [
        side for line, is_near in zip(lines, near) if is_near for side in (line.low, line.high) if side is not None
    ]
    runs = [run for line, is_near in zip(lines, near) if is_near for _, run in line.runs]
    ends = limits([*(line.y for line, is_near in zip(lines, near) if is_near), *bands, *runs], span)
    # Without a reference a line that leaves the axis is no outlier: its label is where it leaves.
    beyond = ends if about is not None else (-np.inf, np.inf)
    places = last if about is not None else [_last(line, ends) for line in lines]
    names = [
        named(line.label, line.style, *place[:2], beyond)
        for line, place in zip(lines, places)
        if line.label and np.isfinite(place[1])
    ]

    def paint(axes: Any, wide: bool) -> None:
        from matplotlib.ticker import MaxNLocator, PercentFormatter

        for line in reversed(lines):
            _draw(axes, line)
        points = np.unique(np.concatenate([line.x for line in lines]))
        if whole and len(points) == 1:
            # An even axis around a single epoch would count in hundredths of it.
            axes.set_xticks(points)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
        elif at is None:
            axes.xaxis.set_major_locator(MaxNLocator(8 if wide else 4, steps=STEPS, integer=whole))
        else:
            axes.set_xticks(_apart(at, 0.06 if wide else 0.18))
        if percent:
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        for line, end in zip(lines, last):
            if end[1] < beyond[0] or end[1] > beyond[1]:
                edge_mark(axes, *end[:2], ends, line.style.color)

    return labeled(key, title, description, paint, names, x=x, y=y, ends=ends, panel=panel)


def _apart(at: Sequence[float], share: float) -> list[float]:
    """Those of which each is at least a share of the whole length from the one before."""
    kept: list[float] = []
    for value in at:
        if not kept or value - kept[-1] >= share * (at[-1] - at[0]):
            kept.append(value)
    return kept


def _draw(axes: Any, line: Trend) -> None:
    style = line.style
    if line.low is not None and line.high is not None:
        axes.fill_between(line.x, line.low, line.high, color=style.color, alpha=0.15, linewidth=0, zorder=2)
    for run_x, run_y in line.runs:
        if line.thin:
            axes.plot(run_x, run_y, color=style.color, linewidth=0.8, alpha=0.6, zorder=2)
        else:
            axes.plot(run_x, run_y, "o", color="none", mec=style.color, mew=0.8, ms=3.5, zorder=2.5)
    draw_line(axes, line.x, line.y, style, most=10)


def _last(line: Trend, ends: tuple[float, float] = (-np.inf, np.inf)) -> tuple[float, float, float]:
    """Position of the last point within an axis and half its band; NaN without a point or a band."""
    known = np.flatnonzero(np.isfinite(line.y) & (line.y >= ends[0]) & (line.y <= ends[1]))
    if not len(known):
        return np.nan, np.nan, np.nan
    at = known[-1]
    half = np.nan if line.low is None or line.high is None else (line.high[at] - line.low[at]) / 2
    return float(line.x[at]), float(line.y[at]), float(half)
