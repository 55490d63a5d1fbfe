"""Line plots over the share of missing cells or over the epochs, with labels at the ends."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mmfusion.comparison.report.canvas import Picture, name_axes, picture
from mmfusion.comparison.report.drawing import draw_line, label_points, labeled_axes
from mmfusion.comparison.report.palette import Style
from mmfusion.metrics.ranking import Floats

_HEIGHT = 330


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
    """

    def paint(figure: Any) -> None:
        from matplotlib.ticker import MaxNLocator, PercentFormatter

        axes = labeled_axes(figure, _HEIGHT)
        for line in reversed(lines):
            _draw(axes, line)
        name_axes(axes, x, y)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_locator(MaxNLocator(3, integer=whole))
        if percent:
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        label_points(axes, [end for line in lines if line.label for end in _end(line)])

    return picture(key, title, description, paint, height=_HEIGHT)


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


def _end(line: Trend) -> list[tuple[str, float, float, Style]]:
    """Label and position of the last point; none without a point."""
    known = np.flatnonzero(np.isfinite(line.y))
    return [(line.label, float(line.x[known[-1]]), float(line.y[known[-1]]), line.style)] if len(known) else []
