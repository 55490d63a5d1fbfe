"""What several plots draw alike: axes in pixels, lines with a few markers, labels and keys that are never cut."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.palette import DOT, INK, PAPER, Style
from mmfusion.comparison.report.text_layout import LINE, text_width, wrap
from mmfusion.metrics.ranking import Floats

_SAMPLE = 46
"""Pixels of a line in a key, with the space behind it."""
_APART = 8


class Named(NamedTuple):
    """An entry of a key, or a label at the end of a line.

    Attributes:
        label: Text.
        style: Of its line and marker.
        x: Position of the labeled point, in data; unused in a key.
        y: Likewise.
    """

    label: str
    style: Style
    x: float = np.nan
    y: float = np.nan


def named(label: str, style: Style, x: float, y: float, ends: tuple[float, float]) -> Named:
    """A label at a point; of an outlier, beyond the ends of the axis, with its value, and in every key."""
    if ends[0] <= y <= ends[1]:
        return Named(label, style, x, y)
    mark = style._replace(marker="v" if y < ends[0] else "^", prominent=True)
    return Named(f"{label} {formatting.number(y)}", mark, x, y)


def sheet(figure: Any, width: float, height: float) -> Any:
    """Axes over a whole figure, without lines, in pixels from the upper left corner."""
    axes = figure.add_axes((0, 0, 1, 1), zorder=2)
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.patch.set_visible(False)
    return axes


def plot_axes(
    figure: Any, size: tuple[float, float], left: float, top: float, right: float, bottom: float, *, x: str, y: str = ""
) -> Any:
    """Axes with margins in pixels and names; that of the vertical one is horizontal, above its end.

    Args:
        figure: Of matplotlib.
        size: Width and height of the figure.
        left: Margin.
        top: Margin.
        right: Margin.
        bottom: Margin.
        x: Name of the axis.
        y: Name of the axis; empty for none.
    """
    width, height = size
    axes = figure.add_axes((left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height))
    axes.set_xlabel(x)
    if y:
        axes.set_title(y, loc="left", x=-(left - 8) / (width - left - right), pad=12, color=INK)
    return axes


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


def key_height(entries: Sequence[Named], width: float) -> float:
    """Pixels that :func:`draw_key` needs."""
    return sum(LINE * len(wrap(entry.label, width - _SAMPLE)) + 5 for entry in entries)


def draw_key(page: Any, entries: Sequence[Named], left: float, top: float, width: float) -> None:
    """One entry below the other: a piece of its line with its marker, and its label in as many lines as it needs.

    Args:
        page: From :func:`sheet`.
        entries: The entries.
        left: Pixels.
        top: Pixels.
        width: Pixels.
    """
    for label, style, *_ in entries:
        ends = ([left, left + 34], [top + 9, top + 9])
        page.plot(*ends, color=style.color, linestyle=style.line, linewidth=style.width)
        if style.prominent:
            page.plot([left + 17], [top + 9], style.marker, color=style.color, ms=6)
        elif style.line == DOT:
            page.plot([left + 17], [top + 9], style.marker, color=PAPER, mec=style.color, mew=1.5, ms=6)
        for line in wrap(label, width - _SAMPLE):
            page.text(left + _SAMPLE, top + 14, line, va="baseline", color=INK)
            top += LINE
        top += 5


def label_room(entries: Sequence[Named], most: float) -> float:
    """Pixels that the widest label needs at the right of the axes, at most ``most``."""
    return 26 + min(most, max((text_width(entry.label) for entry in entries), default=0.0))


def label_points(axes: Any, page: Any, points: Sequence[Named], left: float, width: float) -> None:
    """Labels at the right of the axes, moved apart if they would overlap, in as many lines as they need.

    Args:
        axes: From :func:`plot_axes`, with their limits.
        page: From :func:`sheet`.
        points: What to label.
        left: Where the labels begin, in pixels.
        width: Their width.
    """
    page_height = page.get_ylim()[0]
    placed = []
    for point in points:
        pixel = page_height - axes.transData.transform((point.x, point.y))[1]
        placed.append((float(pixel), wrap(point.label, width), point))
    placed.sort(key=lambda item: item[0])
    heights = [LINE * len(lines) for _, lines, _ in placed]
    for top, height, (pixel, lines, point) in zip(
        spread([at for at, _, _ in placed], heights, page_height - 4), heights, placed
    ):
        start = (float(axes.transData.transform((point.x, point.y))[0]) + 6, pixel)
        page.plot([start[0], left - 4], [start[1], top], color=point.style.color, linewidth=0.9, clip_on=False)
        for number, line in enumerate(lines):
            page.text(left, top - height / 2 + LINE * (number + 1) - 5, line, va="baseline", color=INK)


def spread(middles: Sequence[float], heights: Sequence[float], end: float) -> list[float]:
    """Middles that keep labels of these heights apart, moved by one sweep down and one up.

    Args:
        middles: In ascending order.
        heights: Of each label.
        end: Where the last label ends at most.
    """
    out: list[float] = []
    edge = -np.inf
    for middle, height in zip(middles, heights):
        out.append(max(middle, edge + height / 2))
        edge = out[-1] + height / 2
    limit = end
    for number in range(len(out) - 1, -1, -1):
        out[number] = min(out[number], limit - heights[number] / 2)
        limit = out[number] - heights[number] / 2
    return out
