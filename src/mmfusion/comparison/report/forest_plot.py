"""Forest plots, one row per method: its label, the interval with the runs' points, and the number.

On a wide picture these are next to each other, on a phone label and number are above the interval. The axis is set by
the rows that matter; a row far off is a triangle at the edge, with its value.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.axis import STEPS, limits, reach
from mmfusion.comparison.report.canvas import WIDTH, Picture, full_width, picture
from mmfusion.comparison.report.drawing import plot_axes, sheet
from mmfusion.comparison.report.palette import GRID, INK, MUTED, PAPER, Style
from mmfusion.comparison.report.text_layout import LINE, text_width, wrap

_MARGIN, _TOP, _BOTTOM, _LANE, _GAP = 12, 6, 48, 13, 16


class Mark(NamedTuple):
    """One interval of a row.

    Attributes:
        value: The middle; NaN draws nothing.
        low: Lower end; NaN draws no interval.
        high: Upper end.
        points: Values of single runs.
        style: How it is drawn.
        hollow: Whether the marker is only an outline.
        bar: Whether it is a bar from 0, with the interval at its end, in place of a marker.
    """

    value: float
    low: float
    high: float
    points: tuple[float, ...]
    style: Style
    hollow: bool = False
    bar: bool = False


class Row(NamedTuple):
    """A row.

    Attributes:
        label: Text on the left.
        text: Text on the right.
        marks: Its intervals, from top to bottom.
        bold: Whether the label is bold.
        note: Muted text behind the label, such as the method's family.
    """

    label: str
    text: str
    marks: tuple[Mark, ...]
    bold: bool = False
    note: str = ""


def forest(
    key: str,
    title: str,
    description: str,
    rows: Sequence[Row],
    *,
    axis: str,
    line: float | None = None,
    about: float | None = None,
    beside: Sequence[Row] = (),
) -> Picture:
    """Draw the rows, the first on top, over the full width.

    Args:
        key: Of the picture.
        title: Of the picture.
        description: Of the picture.
        rows: At least one.
        axis: Label of the axis.
        line: Position of a vertical line: the reference, or no difference.
        about: The reference's value, near which rows matter; None: all rows do.
        beside: Rows of other pictures, which share the axis.
    """
    ends = axis_ends([*rows, *beside], line, about)

    def draw(key: str, width: float) -> Picture:
        layout = _Layout(rows, width)
        height = _TOP + layout.ends[-1] + _BOTTOM

        def paint(figure: Any) -> None:
            _paint(figure, layout, (width, height), rows, ends, axis, line)

        return picture(key, title, description, paint, height=height, width=width)

    return full_width(key, draw)


def axis_ends(rows: Sequence[Row], line: float | None, about: float | None) -> tuple[float, float]:
    """Ends of the axis: those of the rows that matter, and of the vertical line."""
    marks = [mark for row in rows for mark in row.marks]
    ends = np.array([(mark.low, mark.high) for mark in marks]).reshape(-1, 2)
    low, high = -np.inf, np.inf
    if about is not None:
        low, high = reach(np.array([mark.value for mark in marks]), (ends[:, 1] - ends[:, 0]) / 2, about)
    near = [mark for mark in marks if not (mark.value < low or mark.value > high)]
    values = [np.array([mark.value, *mark.points]) for mark in near]
    # An interval may be longer than the range that matters, and is then cut there.
    bounds = np.array([(mark.low, mark.high) for mark in near]).reshape(-1, 2)
    bounds = np.clip(bounds, 1.5 * low - 0.5 * high, 1.5 * high - 0.5 * low) if np.isfinite(low) else bounds
    return limits([*values, bounds, np.array([np.nan if line is None else line])])


class _Layout:
    """Where a picture's texts and marks are.

    Attributes:
        side: Whether label, marks and number are next to each other.
        left: Pixels left of the marks.
        right: Pixels right of them.
        labels: Lines of each label, the last of them with the row's note if that fits.
        heights: Height of each row's texts.
        ends: Where each row ends.
    """

    def __init__(self, rows: Sequence[Row], width: float) -> None:
        self.side = width > 2 * WIDTH
        number = max(text_width(row.text) for row in rows)
        note = max(text_width(row.note) for row in rows)
        longest = max(text_width(row.label, bold=row.bold) for row in rows)
        inner = width - 2 * _MARGIN
        self.note_at = _MARGIN + min(longest, 0.3 * inner) + _GAP
        self.left = self.note_at + (note + _GAP if note else 0) if self.side else float(_MARGIN)
        self.right = _MARGIN + number + _GAP if self.side else float(_MARGIN)
        self.labels, self.heights, pitches = [], [], []
        for row in rows:
            if self.side:
                # Half a pixel for rounding: the longest label fits its own width.
                lines = wrap(row.label, self.note_at - _MARGIN - _GAP + 0.5, bold=row.bold)
                height = LINE * len(lines)
                pitch = max(height, _marks_height(row)) + 10
            else:
                # Label and number share a line if they fit.
                lines = wrap(row.label, inner, bold=row.bold)
                last = text_width(lines[-1], bold=row.bold) + text_width(row.text) + _GAP
                height = LINE * (len(lines) + (last > inner))
                pitch = height + _marks_height(row) + 12
            self.labels.append(lines)
            self.heights.append(height)
            pitches.append(pitch)
        self.ends: list[float] = np.cumsum(pitches).tolist()


def _marks_height(row: Row) -> float:
    """Pixels of the intervals, with the points of runs below the last."""
    return _LANE * max(1, len(row.marks)) + 7.0 * any(len(mark.points) > 1 for mark in row.marks)


def _paint(
    figure: Any,
    layout: _Layout,
    size: tuple[float, float],
    rows: Sequence[Row],
    ends: tuple[float, float],
    axis: str,
    line: float | None,
) -> None:
    from matplotlib.ticker import MaxNLocator

    left, right = ends
    page = sheet(figure, *size)
    axes = plot_axes(figure, size, layout.left, _TOP, layout.right, _BOTTOM, x=axis)
    axes.set_ylim(layout.ends[-1], 0)
    axes.set_xlim(left, right)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    # A number at the very end would stick out of the picture.
    inner = 0.045 * (right - left)
    ticks = MaxNLocator(8 if layout.side else 4, steps=STEPS).tick_values(left, right)
    axes.set_xticks([x for x in ticks if left + inner <= x <= right - inner])
    for number, (row, lines, height, top, end) in enumerate(
        zip(rows, layout.labels, layout.heights, [0.0, *layout.ends], layout.ends)
    ):
        if number:
            page.plot([_MARGIN, size[0] - _MARGIN], [_TOP + top] * 2, color=GRID, linewidth=1)
        first = _TOP + top + ((end - top - height) / 2 if layout.side else 4)
        for at, words in enumerate(lines):
            weight = "bold" if row.bold else "normal"
            page.text(_MARGIN, first + LINE * at + 14, words, va="baseline", fontweight=weight)
        last = first + height - LINE + 14
        page.text(size[0] - _MARGIN, last, row.text, ha="right", va="baseline", color=INK)
        if row.note and layout.side:
            page.text(layout.note_at, first + 14, row.note, va="baseline", color=MUTED)
        between = (end - top - _marks_height(row)) / 2 if layout.side else height + 6
        if line is not None:
            # On a phone below the words of each row, not through them.
            ys = [top if layout.side else top + between, end]
            axes.plot([line, line], ys, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
        for lane, mark in enumerate(row.marks):
            _draw(axes, mark, top + between + _LANE * (lane + 0.5), ends)


def _draw(axes: Any, mark: Mark, y: float, ends: tuple[float, float]) -> None:
    color = mark.style.color if mark.style.prominent else MUTED
    left, right = ends
    if not np.isfinite(mark.value):
        return
    if mark.bar:
        of_bar = [min(max(x, left), right) for x in (0.0, mark.value)]
        axes.plot(of_bar, [y, y], color=mark.style.color, linewidth=_LANE - 2, solid_capstyle="butt", zorder=3)
        if mark.low < mark.high:
            axes.plot([mark.low, mark.high], [y, y], color=INK, linewidth=1.4, solid_capstyle="butt", zorder=4)
        return
    if not left <= mark.value <= right:
        below = mark.value < left
        axes.plot([left if below else right], [y], "<" if below else ">", ms=9, color=color, zorder=5, clip_on=False)
        offset, side = ((12, 0), "left") if below else ((-12, 0), "right")
        text = formatting.number(mark.value)
        axes.annotate(text, (left if below else right, y), offset, textcoords="offset points", ha=side, va="center")
        return
    if np.isfinite(mark.low) and np.isfinite(mark.high):
        low, high = max(mark.low, left), min(mark.high, right)
        axes.plot([low, high], [y, y], color=color, linewidth=2.5, solid_capstyle="butt", zorder=3)
        for end, cut, marker in ((left, mark.low < left, "<"), (right, mark.high > right, ">")):
            if cut:
                axes.plot([end], [y], marker, ms=6, color=color, zorder=3, clip_on=False)
    points = [x for x in mark.points if left <= x <= right]
    if len(mark.points) > 1:
        axes.plot(points, [y + 8] * len(points), "o", ms=4, color=PAPER, mec=color, mew=1, zorder=4, clip_on=False)
    face = PAPER if mark.hollow else color
    axes.plot([mark.value], [y], mark.style.marker, ms=8, color=face, mec=color, mew=2, zorder=5, clip_on=False)
