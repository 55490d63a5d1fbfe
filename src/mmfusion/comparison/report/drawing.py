"""What several plots draw alike: lines with a few markers, and labels at the right of the axes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmfusion.comparison.report.canvas import WIDTH, shorten
from mmfusion.comparison.report.palette import INK, Style
from mmfusion.metrics.ranking import Floats

LABELS = 98
"""Pixels at the right of the axes for their labels."""


def labeled_axes(figure: Any, height: float, left: float = 52, top: float = 32, bottom: float = 50) -> Any:
    """Axes of a figure with room for labels at their right."""
    width = (WIDTH - left - LABELS) / WIDTH
    return figure.add_axes((left / WIDTH, bottom / height, width, (height - top - bottom) / height))


def draw_line(axes: Any, x: Floats, y: Floats, style: Style, *, most: int, every: bool = False) -> None:
    """A line with markers if it is prominent: a few markers distinguish lines without their colors.

    Args:
        axes: Of matplotlib.
        x: Shape ``(g,)``.
        y: Shape ``(g,)``; NaN interrupts the line.
        style: How it is drawn.
        most: Number of points up to which each has a marker.
        every: Whether each point has a marker, however many there are.
    """
    known = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    marked = known if every or len(known) <= most else known[:: max(1, len(known) // 6)]
    axes.plot(
        x,
        y,
        color=style.color,
        linestyle=style.line,
        linewidth=style.width,
        marker=style.marker if style.prominent else None,
        markevery=[int(i) for i in marked] if style.prominent else None,
        ms=6,
        # Grey never covers color.
        zorder=4 if style.prominent else 1.5,
        solid_capstyle="round",
    )


def label_points(axes: Any, points: Sequence[tuple[str, float, float, Style]]) -> None:
    """Labels at the right of the axes, moved apart if they would overlap.

    Args:
        axes: From :func:`labeled_axes`.
        points: Label, position and style of each.
    """
    if not points:
        return
    ordered = sorted(points, key=lambda point: point[2])
    low, high = axes.get_ylim()
    pixels = axes.bbox.height
    heights = spread([(y - low) / (high - low) * pixels for _, _, y, _ in ordered], 18, pixels)
    for (label, x, y, style), at in zip(ordered, heights):
        axes.annotate(
            shorten(label, 9),
            (x, y),
            xytext=(1.08, at / pixels),
            textcoords="axes fraction",
            ha="left",
            va="center",
            color=INK,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": style.color, "linewidth": 0.9, "shrinkA": 2, "shrinkB": 4},
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
