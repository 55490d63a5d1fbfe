"""Axes whose points or lines have labels: at the right on a wide picture, in a key below on a phone."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mmfusion.comparison.report.axis import STEPS
from mmfusion.comparison.report.canvas import WIDTH, Picture, full_width, picture
from mmfusion.comparison.report.drawing import (
    Named,
    draw_key,
    key_height,
    label_points,
    label_room,
    plot_axes,
    sheet,
)
from mmfusion.comparison.report.text_layout import LINE

_HEIGHT, _LEFT, _TOP, _BOTTOM, _LEADER = 340, 62, 38, 50, 22


def labeled(
    key: str,
    title: str,
    description: str,
    paint: Callable[[Any, bool], None],
    names: Sequence[Named],
    *,
    x: str,
    y: str,
    ends: tuple[float, float],
    panel: bool = False,
) -> Picture:
    """Draw axes with labels; a key names the prominent ones, and the number of the others.

    Args:
        key: Of the picture.
        title: Of the picture.
        description: Of the picture.
        paint: Draws on the axes, given whether they are wide.
        names: The labels, each at its point; one beyond the axis is at its edge.
        x: Label of the axis.
        y: Label of the axis.
        ends: Of the vertical axis.
        panel: Whether it is one of several panels in a row, not over the full width.
    """
    key_entries = [name for name in names if name.style.prominent]
    grey = [name for name in names if not name.style.prominent]
    if grey:
        words = grey[0].label if len(grey) == 1 else f"{len(grey)} other methods"
        key_entries.append(Named(words, grey[0].style))
    inside = [name._replace(y=float(np.clip(name.y, *ends))) for name in names]

    def draw(key: str, width: float) -> Picture:
        wide = width > WIDTH
        right = label_room(names, 0.35 * width) if wide else 12.0
        height = max(_HEIGHT, LINE * len(names) + _TOP + 12.0) if wide else _HEIGHT + key_height(key_entries, width)
        bottom = _BOTTOM if wide else height - _HEIGHT + _BOTTOM

        def fill(figure: Any) -> None:
            from matplotlib.ticker import MaxNLocator

            page = sheet(figure, width, height)
            axes = plot_axes(figure, (width, height), _LEFT, _TOP, right, bottom, x=x, y=y)
            paint(axes, wide)
            axes.set_ylim(*ends)
            axes.yaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
            if wide:
                label_points(axes, page, inside, width - right + _LEADER, right - _LEADER)
            else:
                draw_key(page, key_entries, 4, _HEIGHT, width)

        return picture(key, title, description, fill, height=height, width=width)

    return draw(key, WIDTH) if panel else full_width(key, draw)


def edge_mark(axes: Any, x: float, y: float, ends: tuple[float, float], color: str) -> None:
    """A triangle at the edge of the axis, for what lies beyond."""
    below = y < ends[0]
    axes.plot([x], [ends[0] if below else ends[1]], "v" if below else "^", ms=9, color=color, zorder=5, clip_on=False)
