"""Width of a table on a page: below it, each row becomes a block of lines, so that nothing scrolls sideways."""

from collections.abc import Sequence

from mmfusion.comparison.report.text_layout import text_width

SCREENS = (420, 560, 700, 860, 1020, 1240)
"""Widths of screens in pixels, below which tables become blocks; :data:`ALWAYS` for a table that fits none."""
ALWAYS = 100_000
_PHONE, _PADDING = 360, 16
_FIRST, _TEXT = 130, 230
"""Widths at which text in the first column, and in the others, may end its line."""


def stacking(rows: Sequence[Sequence[str]], columns: Sequence[str], n_numeric: int) -> int:
    """Width of the screen below which a table is shown as blocks; 0 if it fits a phone.

    Args:
        rows: Cells.
        columns: Headings, which may end their line behind a word.
        n_numeric: Number of columns with numbers, the last ones, whose cells are on one line.
    """
    total = 0.0
    for number, column in enumerate(columns):
        words = max((text_width(word, bold=True) for word in column.split()), default=0.0)
        cells = max((text_width(row[number], bold=number == 0) for row in rows), default=0.0)
        if number < len(columns) - n_numeric:
            cells = min(cells, _TEXT if number else _FIRST)
        total += max(words, cells) + _PADDING
    # The margins of the page.
    if total + 24 <= _PHONE:
        return 0
    return next((screen for screen in SCREENS if total + (24 if screen < 700 else 64) <= screen), ALWAYS)
