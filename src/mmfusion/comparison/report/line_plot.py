"""Line plots over the share of missing cells or over the epochs, with labels at the ends."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mmfusion.comparison.report.canvas import WIDTH, Picture, name_axes, picture, shorten
from mmfusion.comparison.report.palette import INK, Style
from mmfusion.metrics.ranking import Floats

_LEFT, _RIGHT, _TOP, _BOTTOM, _HEIGHT = 52, 98, 32, 50, 330


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

        axes = figure.add_axes(
            (
                _LEFT / WIDTH,
                _BOTTOM / _HEIGHT,
                (WIDTH - _LEFT - _RIGHT) / WIDTH,
                (_HEIGHT - _TOP - _BOTTOM) / _HEIGHT,
            )
        )
        for line in reversed(lines):
            _draw(axes, line)
        name_axes(axes, x, y)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_locator(MaxNLocator(3, integer=whole))
        if percent:
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        _label(axes, lines)

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
    known = np.flatnonzero(np.isfinite(line.y))
    every = known if len(known) <= 10 else known[:: max(1, len(known) // 6)]
    axes.plot(
        line.x,
        line.y,
        color=style.color,
        linestyle=style.line,
        linewidth=style.width,
        marker=style.marker if style.prominent else None,
        markevery=[int(i) for i in every] if style.prominent else None,
        ms=6,
        zorder=4 if style.prominent else 1.5,
    )


def _label(axes: Any, lines: Sequence[Trend]) -> None:
    """Labels at the right ends, moved apart if they would overlap."""
    ends = []
    for line in lines:
        known = np.flatnonzero(np.isfinite(line.y))
        if line.label and len(known):
            ends.append((float(line.y[known[-1]]), float(line.x[known[-1]]), line))
    if not ends:
        return
    ends.sort(key=lambda end: end[0])
    low, high = axes.get_ylim()
    pixels = _HEIGHT - _TOP - _BOTTOM
    heights = spread([(value - low) / (high - low) * pixels for value, _, _ in ends], 18, pixels)
    for (value, x, line), at in zip(ends, heights):
        axes.annotate(
            shorten(line.label, 9),
            (x, value),
            xytext=(1.08, at / pixels),
            textcoords="axes fraction",
            ha="left",
            va="center",
            color=INK,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": line.style.color, "linewidth": 0.9, "shrinkA": 2, "shrinkB": 4},
        )
    axes.set_ylim(low, high)


def spread(heights: Sequence[float], apart: float, top: float) -> list[float]:
    """Heights that are at least ``apart`` from each other, moved by one sweep up and one down.

    Args:
        heights: In ascending order.
        apart: Smallest distance.
        top: Upper limit of the heights.
    """
    out: list[float] = []
    for height in heights:
        out.append(height if not out else max(height, out[-1] + apart))
    limit = top
    for number in range(len(out) - 1, -1, -1):
        out[number] = min(out[number], limit)
        limit = out[number] - apart
    return out
