"""Forest plots, one row per method: label and number above, the interval and the runs' points below.

A label that is too long to be next to the number has its own line, so that a phone shows it whole.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mmfusion.comparison.report.canvas import WIDTH, Picture, picture, shorten
from mmfusion.comparison.report.palette import GRID, INK, MUTED, PAPER, Style

_PITCH, _MARGIN, _TOP, _BOTTOM, _LINE = 50, 12, 6, 48, 20
_LETTER = 8.7
"""Mean width of a letter in pixels, in the widest font that the page may have."""
_LETTERS = int((WIDTH - 2 * _MARGIN) / _LETTER)
"""Number of letters in a line."""


class Mark(NamedTuple):
    """One interval of a row.

    Attributes:
        value: The middle; NaN draws nothing.
        low: Lower end; NaN draws no interval.
        high: Upper end.
        points: Values of single runs.
        style: How it is drawn.
        hollow: Whether the marker is only an outline.
    """

    value: float
    low: float
    high: float
    points: tuple[float, ...]
    style: Style
    hollow: bool = False


class Row(NamedTuple):
    """A row.

    Attributes:
        label: Text on the left.
        text: Text on the right.
        marks: Its intervals, from top to bottom.
        bold: Whether the label is bold.
    """

    label: str
    text: str
    marks: tuple[Mark, ...]
    bold: bool = False


def forest(
    key: str,
    title: str,
    description: str,
    rows: Sequence[Row],
    *,
    axis: str,
    line: float | None = None,
    beside: Sequence[Row] = (),
) -> Picture:
    """Draw the rows, the first on top.

    Args:
        key: Of the picture.
        title: Of the picture.
        description: Of the picture.
        rows: At least one.
        axis: Label of the axis.
        line: Position of a vertical line: the reference, or no difference.
        beside: Rows of the pictures next to this one, which share its axis.
    """
    lanes = max(1, max(len(row.marks) for row in rows))
    # Extra height of rows whose text takes two lines.
    below = [_LINE * (_room(row) < len(row.label)) for row in rows]
    ends = np.cumsum([_PITCH + 13 * (lanes - 1) + extra for extra in below]).tolist()
    height = _TOP + ends[-1] + _BOTTOM

    def paint(figure: Any) -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.add_axes(
            (_MARGIN / WIDTH, _BOTTOM / height, 1 - 2 * _MARGIN / WIDTH, 1 - (_TOP + _BOTTOM) / height)
        )
        axes.set_ylim(ends[-1], 0)
        left, right = _limits([*rows, *beside], line)
        axes.set_xlim(left, right)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        # A number at the very end would stick out of the picture.
        inner = 0.045 * (right - left)
        axes.set_xticks([x for x in MaxNLocator(4).tick_values(left, right) if left + inner <= x <= right - inner])
        axes.set_xlabel(axis)
        across = axes.get_yaxis_transform()
        for row, extra, top, end in zip(rows, below, [0, *ends], ends):
            if top:
                axes.axhline(top, color=GRID, linewidth=1, zorder=0)
            room = _room(row) if not extra else _LETTERS
            # Paper behind the words, so that no line of the grid runs through them.
            box = {"facecolor": PAPER, "edgecolor": "none", "pad": 1}
            words = {"transform": across, "va": "baseline", "bbox": box, "zorder": 2}
            weight = "bold" if row.bold else "normal"
            axes.text(0, top + 20, shorten(row.label, room), ha="left", fontweight=weight, **words)
            top += extra
            axes.text(1, top + 20, row.text, ha="right", color=INK, **words)
            if line is not None:
                # Below the words of each row, not through them.
                axes.plot([line, line], [top + 27, end], color=INK, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
            for lane, mark in enumerate(row.marks):
                _draw(axes, mark, top + 36 + 13 * lane)

    return picture(key, title, description, paint, height=height)


def _room(row: Row) -> int:
    """Number of letters that fit next to the number."""
    return _LETTERS - len(row.text) - 1


def _draw(axes: Any, mark: Mark, y: float) -> None:
    color = mark.style.color if mark.style.prominent else MUTED
    if np.isfinite(mark.low) and np.isfinite(mark.high):
        axes.plot([mark.low, mark.high], [y, y], color=color, linewidth=2.5, solid_capstyle="butt", zorder=3)
    if len(mark.points) > 1:
        heights = np.full(len(mark.points), y + 7)
        axes.plot(mark.points, heights, "o", ms=4, color=PAPER, mec=color, mew=1, zorder=4, clip_on=False)
    if np.isfinite(mark.value):
        face = PAPER if mark.hollow else color
        axes.plot([mark.value], [y], mark.style.marker, ms=8, color=face, mec=color, mew=2, zorder=5, clip_on=False)


def _limits(rows: Sequence[Row], line: float | None) -> tuple[float, float]:
    marks = [mark for row in rows for mark in row.marks]
    values = np.array([x for mark in marks for x in (mark.value, mark.low, mark.high, *mark.points)])
    values = np.append(values, np.nan if line is None else line)
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    reach = max(high - low, 0.01)
    return low - 0.06 * reach, high + 0.06 * reach
