"""Plot of a confusion matrix: shaded cells with percentages of each true class."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import WIDTH, Picture, picture, shorten
from mmfusion.comparison.report.palette import INK, MUTED
from mmfusion.metrics.ranking import Floats

_LEFT, _TOP, _CELL = 94, 50, 34
_LETTER = 8.7


def matrix(key: str, title: str, description: str, shares: Floats, classes: Sequence[str]) -> Picture:
    """Draw a confusion matrix.

    Args:
        key: Of the picture.
        title: Of the picture.
        description: Of the picture.
        shares: Shape ``(k, k)``, of each row; NaN for a class without cases.
        classes: Names.
    """
    k = len(classes)
    side = max(_CELL, min(64, (WIDTH - _LEFT - 4) / k))
    left = max(_LEFT, WIDTH - side * k - 4)
    width = left + side * k + 4
    height = _TOP + side * k + 6

    def paint(figure: Any) -> None:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        axes.text(left + side * k / 2, 16, "predicted", ha="center", va="center", color=INK)
        axes.text(left - 6, 38, "true", ha="right", va="center", color=INK)
        for row in range(k):
            middle = _TOP + side * (row + 0.5)
            axes.text(left + side * (row + 0.5), 38, str(row + 1), ha="center", va="center", color=INK)
            name = shorten(f"{row + 1} {classes[row]}", int((left - 10) / _LETTER))
            axes.text(left - 6, middle, name, ha="right", va="center", color=INK)
            for column in range(k):
                share = shares[row, column]
                _cell(axes, left + side * column, _TOP + side * row, side, share, row == column)

    return picture(key, title, description, paint, height=height, width=width)


def _cell(axes: Any, x: float, y: float, side: float, share: float, hit: bool) -> None:
    from matplotlib.patches import Rectangle

    dark = 0.0 if np.isnan(share) else float(share)
    edge, width = ("#000001", 2.0) if hit else (MUTED, 0.5)
    axes.add_patch(
        Rectangle((x + 1, y + 1), side - 2, side - 2, facecolor=shade(dark), edgecolor=edge, linewidth=width)
    )
    text = formatting.NONE if np.isnan(share) else f"{100 * share:.0f}"
    ink = "#fffffe" if dark > 0.5 else "#000001"
    axes.text(x + side / 2, y + side / 2, text, ha="center", va="center", color=ink)


def shade(share: float) -> str:
    """From white at 0 to dark blue at 1, with even steps in lightness, so that it reads the same in grey."""
    ends = np.array([(0.97, 0.98, 1.0), (0.42, 0.64, 0.83), (0.03, 0.19, 0.42)])
    color = [np.interp(share, [0, 0.5, 1], ends[:, channel]) for channel in range(3)]
    return "#" + "".join(f"{round(255 * value):02x}" for value in color)
