"""Curves in the unit square: ROC, precision against recall, reliability."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from mmfusion.comparison.report.canvas import WIDTH, Picture, name_axes, picture, shorten
from mmfusion.comparison.report.drawing import draw_line
from mmfusion.comparison.report.palette import MUTED, PAPER, Style
from mmfusion.metrics.ranking import Floats

_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 32, 50
_SIDE = WIDTH - _LEFT - _RIGHT


class Line(NamedTuple):
    """A curve.

    Attributes:
        label: In the key; empty for none.
        x: Shape ``(g,)``.
        y: Shape ``(g,)``; NaN interrupts it.
        style: How it is drawn.
        low: Shape ``(g,)``, lower edge of its band; None for no band.
        high: Shape ``(g,)``.
        bars: Whether the band is a bar at each point.
    """

    label: str
    x: Floats
    y: Floats
    style: Style
    low: Floats | None = None
    high: Floats | None = None
    bars: bool = False


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
    corner: str = "lower right",
) -> Picture:
    """Draw curves in one square, with a legend.

    Args:
        key: Of the picture.
        title: Of the picture.
        description: Of the picture.
        lines: Drawn in reverse, so that the first lies on top.
        x: Label of the axis.
        y: Label of the axis.
        diagonal: Whether the line from (0, 0) to (1, 1) is shown.
        level: Height of a horizontal line, such as the prevalence; None for none.
        corner: Position of the legend; ``below`` for under the axes.
    """
    named = [line for line in lines if line.label]
    below = corner == "below"
    key_height = 24 * len(named) + 4 if below else 0
    height = _TOP + _SIDE + _BOTTOM + key_height

    def paint(figure: Any) -> None:
        axes = figure.add_axes((_LEFT / WIDTH, (_BOTTOM + key_height) / height, _SIDE / WIDTH, _SIDE / height))
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
        name_axes(axes, x, y)
        if diagonal:
            axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (2, 3)), zorder=1)
        if level is not None:
            axes.axhline(level, color=MUTED, linewidth=1, linestyle=(0, (2, 3)), zorder=1)
        for line in reversed(lines):
            _draw(axes, line)
        if named:
            handles = [_handle(line.style) for line in named]
            texts = [shorten(line.label, 30 if below else 18) for line in named]
            place = {"loc": corner} if not below else {"loc": "upper left", "bbox_to_anchor": (-0.16, -0.17)}
            axes.legend(
                handles,
                texts,
                fontsize=15,
                handlelength=2.6,
                borderpad=0.2,
                labelspacing=0.35,
                borderaxespad=0.3,
                frameon=not below,
                facecolor=PAPER,
                edgecolor="none",
                framealpha=0.85,
                **place,
            )

    return picture(key, title, description, paint, height=height)


def _handle(style: Style) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=style.color, linestyle=style.line, linewidth=style.width, marker=style.marker, ms=6)


def _draw(axes: Any, line: Line) -> None:
    style = line.style
    if line.low is not None and line.high is not None:
        if line.bars:
            axes.vlines(line.x, line.low, line.high, color=style.color, linewidth=1.5, zorder=3)
        else:
            axes.fill_between(line.x, line.low, line.high, color=style.color, alpha=0.18, linewidth=0, zorder=2)
    draw_line(axes, line.x, line.y, style, most=15, every=line.bars)
