"""Plot of a confusion matrix: shaded cells with percentages of each true class."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import WIDTH, Picture, picture
from mmfusion.comparison.report.drawing import sheet
from mmfusion.comparison.report.palette import INK, MUTED
from mmfusion.comparison.report.text_layout import LINE, wrap
from mmfusion.metrics.ranking import Floats

_LEFT, _TOP, _CELL = 94, 50, 34


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
    names = [wrap(f"{row + 1} {name}", left - 10) for row, name in enumerate(classes)]
    # A long name makes its row higher.
    ends = np.cumsum([max(side, LINE * len(lines) + 4) for lines in names]).tolist()
    size = (left + side * k + 4, _TOP + ends[-1] + 6)

    def paint(figure: Any) -> None:
        page = sheet(figure, *size)
        page.text(left + side * k / 2, 16, "predicted", ha="center", va="center", color=INK)
        page.text(left - 6, 38, "true", ha="right", va="center", color=INK)
        for row, (lines, top, end) in enumerate(zip(names, [0.0, *ends], ends)):
            page.text(left + side * (row + 0.5), 38, str(row + 1), ha="center", va="center", color=INK)
            first = _TOP + (top + end - LINE * len(lines)) / 2
            for number, words in enumerate(lines):
                page.text(left - 6, first + LINE * (number + 0.5), words, ha="right", va="center", color=INK)
            for column in range(k):
                box = (left + side * column, _TOP + top, side, end - top)
                _cell(page, box, shares[row, column], row == column)

    return picture(key, title, description, paint, height=size[1], width=size[0])


def _cell(page: Any, box: tuple[float, float, float, float], share: float, hit: bool) -> None:
    from matplotlib.patches import Rectangle

    x, y, across, down = box
    dark = 0.0 if np.isnan(share) else float(share)
    edge, width = ("#000001", 2.0) if hit else (MUTED, 0.5)
    corner = (x + 1, y + 1)
    page.add_patch(Rectangle(corner, across - 2, down - 2, facecolor=shade(dark), edgecolor=edge, linewidth=width))
    text = formatting.NONE if np.isnan(share) else f"{100 * share:.0f}"
    ink = ink_on(shade(dark))
    page.text(x + across / 2, y + down / 2, text, ha="center", va="center", color=ink)


def ink_on(paper: str) -> str:
    """Black or white, whichever has the higher contrast to a color, by the relative luminance of WCAG."""
    channels = np.array([int(paper[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    # Both have 4.58 : 1 where (1 + 0.05) / (L + 0.05) = (L + 0.05) / 0.05.
    return "#fffffe" if luminance < 0.179 else "#000001"


def shade(share: float) -> str:
    """From white at 0 to dark blue at 1, with even steps in lightness, so that it reads the same in grey."""
    ends = np.array([(0.97, 0.98, 1.0), (0.42, 0.64, 0.83), (0.03, 0.19, 0.42)])
    color = [np.interp(share, [0, 0.5, 1], ends[:, channel]) for channel in range(3)]
    return "#" + "".join(f"{round(255 * value):02x}" for value in color)
