"""Curves in the unit square: ROC, precision against recall, reliability."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mmfusion.comparison.report.canvas import WIDTH, Picture, picture
from mmfusion.comparison.report.drawing import Named, draw_key, draw_line, key_height, plot_axes, sheet
from mmfusion.comparison.report.palette import MUTED, Style
from mmfusion.metrics.ranking import Floats

_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 36, 50
_SIDE = WIDTH - _LEFT - _RIGHT
_COUNTS = 92
"""Height of the histogram below a curve, with its axis."""


class Line(NamedTuple):
    """A curve.

    Attributes:
        label: In the key; empty for none.
        x: Shape ``(g,)``.
        y: Shape ``(g,)``; NaN interrupts it.
        style: How it is drawn.
        low: Shape ``(g,)``, lower edge of its band; None for no band.
        high: Shape ``(g,)``.
        every: Whether each point has a marker.
    """

    label: str
    x: Floats
    y: Floats
    style: Style
    low: Floats | None = None
    high: Floats | None = None
    every: bool = False


def square(
    key: str,
    title: str,
    description: str,
    lines: Sequence[Line],
    *,
    x: str,
    y: str,
    diagonal: bool = False,
    level: float | None = None,
    counts: tuple[str, Floats] | None = None,
) -> Picture:
    """Draw curves in one square, with a key below.

    Args:
        key: Of the picture.
        title: Of the picture.
        description: Of the picture.
        lines: Drawn in reverse, so that the first lies on top.
        x: Label of the axis.
        y: Label of the axis.
        diagonal: Whether the line from (0, 0) to (1, 1) is shown.
        level: Height of a horizontal line, such as the prevalence; None for none.
        counts: Name and numbers of the cases in even bins of the horizontal axis, drawn as a histogram below; None for
            none.
    """
    named = [Named(line.label, line.style) for line in lines if line.label]
    below = _COUNTS if counts is not None else 0
    square_end = _TOP + _SIDE + (14 if below else _BOTTOM)
    height = square_end + below + (_BOTTOM - 14 if below else 0) + key_height(named, WIDTH)
    size = (WIDTH, height)

    def paint(figure: Any) -> None:
        page = sheet(figure, *size)
        axes = plot_axes(figure, size, _LEFT, _TOP, _RIGHT, height - _TOP - _SIDE, x="" if below else x, y=y)
        axes.set_ylim(-0.02, 1.02)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
        _share_axis(axes, named=not below)
        if diagonal:
            axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (2, 3)), zorder=1)
        if level is not None:
            axes.axhline(level, color=MUTED, linewidth=1, linestyle=(0, (2, 3)), zorder=1)
        for line in reversed(lines):
            if line.low is not None and line.high is not None:
                band = {"color": line.style.color, "alpha": 0.18, "linewidth": 0}
                axes.fill_between(line.x, line.low, line.high, zorder=2, **band)
                if line.every:
                    # A point between two without a band would have none.
                    axes.vlines(line.x, line.low, line.high, color=line.style.color, linewidth=1, zorder=2)
            draw_line(axes, line.x, line.y, line.style, most=15, every=line.every)
        if counts is not None:
            _histogram(figure, size, square_end, *counts, x)
        draw_key(page, named, 4, square_end + below + (_BOTTOM - 14 if below else 0), WIDTH)

    return picture(key, title, description, paint, height=height)


def _share_axis(axes: Any, *, named: bool) -> None:
    axes.set_xlim(-0.02, 1.02)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"] if named else [""] * 5)


def _histogram(figure: Any, size: tuple[float, float], top: float, name: str, counts: Floats, x: str) -> None:
    """Bars on a logarithmic axis, so that a bin of few cases differs visibly from an empty one."""
    bars = plot_axes(figure, size, _LEFT, top + 32, _RIGHT, size[1] - top - _COUNTS + 14, x=x, y=name)
    _share_axis(bars, named=True)
    bars.set_yscale("log")
    bars.set_ylim(0.7, max(13.0, 1.3 * float(np.nanmax(counts))))
    bars.bar((np.arange(len(counts)) + 0.5) / len(counts), counts, width=0.9 / len(counts), color=MUTED)
    powers = [10**n for n in range(6) if 10**n <= bars.get_ylim()[1]]
    bars.set_yticks(powers[:: 1 + len(powers) // 4], [f"{power:,}" for power in powers[:: 1 + len(powers) // 4]])
    bars.set_yticks([], minor=True)
