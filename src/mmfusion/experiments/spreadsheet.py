"""CSV files that a spreadsheet program opens without computing anything.

A program takes a cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a line break for a formula. Such a text
gets an apostrophe before it, and so does one that begins with apostrophes and then one of these; no other text does.
:func:`unescape` therefore gives every original back. Numbers, and texts that are plain numbers, stay as they are.
"""

import csv
import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

# The last four are the full-width forms, which some programs take for the same.
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def escape(text: str) -> str:
    """A text that no spreadsheet program takes for a formula."""
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def unescape(text: str) -> str:
    """The inverse of :func:`escape`."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def write_rows(rows: Iterable[Iterable[object]], *, formulas: bool = False) -> str:
    """CSV of rows of cells, the header first.

    Args:
        rows: None and NaN are empty cells.
        formulas: Leave texts as they are, also those that a spreadsheet program would compute.
    """
    lines = _Lines()
    writer = csv.writer(lines, lineterminator="\r\n")
    writer.writerows([_cell(cell, formulas) for cell in row] for row in rows)
    return "".join(lines)


def to_csv(frame: pd.DataFrame, *, formulas: bool = False) -> str:
    """A table as CSV, without its index.

    Args:
        frame: The table.
        formulas: As for :func:`write_rows`.
    """
    columns = [frame.iloc[:, position].astype(object) for position in range(frame.shape[1])]
    return write_rows([list(frame.columns), *zip(*columns, strict=True)], formulas=formulas)


def read_csv(path: str | Path) -> pd.DataFrame:
    """A file of :func:`to_csv`, with the original texts.

    Every cell is a text, since ``007`` is no number, and an empty one is missing. For numbers convert a column:
    ``frame["prob_1"].astype(float)``.
    """
    with open(path, encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    cells = [[unescape(cell) or None for cell in row] for row in rows]
    return pd.DataFrame(cells, columns=pd.Index([unescape(name) for name in header], dtype=object), dtype=object)


class _Lines(list[str]):
    """Lines of a csv writer, which writes each at once.

    The writer quotes what its own line terminator has: a carriage return within a cell is quoted only if the
    terminator has one too.
    """

    def write(self, line: str) -> None:
        self.append(line.removesuffix("\r\n") + "\n")


def _cell(cell: object, formulas: bool) -> object:
    if isinstance(cell, str):
        return cell if formulas else escape(cell)
    return None if pd.isna(cell) else cell  # type: ignore[call-overload]  # a cell may be anything
