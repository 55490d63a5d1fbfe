"""Width of a table on a page: below it, each row becomes a block of lines, so that nothing scrolls sideways."""

import re
from collections.abc import Sequence

from mmfusion.comparison.report.text_layout import text_width

SCREENS = (420, 560, 700, 860, 1020, 1240)
"""Widths of screens in pixels, below which tables become blocks; :data:`ALWAYS` for a table that fits none."""
ALWAYS = 100_000
_PHONE, _PADDING = 360, 16
_TEXT, _NARROW = 230, 110
"""Width at which text in a cell may end its line; of a table that would fit no screen."""
# Where a browser may end a line.
_BREAK = re.compile(r"(?<=-)|\s")


def stacking(rows: Sequence[Sequence[str]], columns: Sequence[str], n_numeric: int) -> int:
    """Width of the screen below which a table is shown as blocks; 0 if it fits a phone.

    Args:
        rows: Cells.
        columns: Headings, which may end their line behind a word.
        n_numeric: Number of columns with numbers, the last ones, whose cells are on one line.
    """
    for text in (_TEXT, _NARROW):
        total = _width(rows, columns, n_numeric, text)
        # The margins of the page.
        if total + 24 <= _PHONE:
            return 0
        if fitting := [screen for screen in SCREENS if total + (24 if screen < 700 else 64) <= screen]:
            return fitting[0]
    return ALWAYS


def _width(rows: Sequence[Sequence[str]], columns: Sequence[str], n_numeric: int, most: float) -> float:
    """Pixels that a table needs, where text ends its line at a width at most."""
    total = 0.0
    for number, column in enumerate(columns):
        texts = [row[number] for row in rows]
        numeric = number >= len(columns) - n_numeric
        # Numbers stay on their line, no word is broken, and a method's label takes as many lines as it must.
        words = [word for text in (column, *([] if numeric else texts)) for word in _BREAK.split(text)]
        longest = max((text_width(text) for text in texts), default=0.0)
        cells = longest if numeric else min(longest, most) if number else 0.0
        total += max(cells, *(text_width(word, bold=number == 0 or word in column) for word in words)) + _PADDING
    return total
