"""CSV files that a spreadsheet program opens without computing anything.

A program takes a cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a line break for a formula. Such a text
gets an apostrophe before it, and so does one that begins with apostrophes and then one of these; no other text does.
:func:`unescape` therefore gives every original back. Numbers, and texts that are plain numbers, stay as they are.
"""

import math
import re

import pandas as pd

_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")


def escape(text: str) -> str:
    """A text that no spreadsheet program takes for a formula."""
    return f"'{text}" if _FORMULA.match(text) and not _is_number(text) else text


def unescape(text: str) -> str:
    """The inverse of :func:`escape`."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def csv(frame: pd.DataFrame, *, formulas: bool = False) -> str:
    """A table as CSV, without its index.

    Args:
        frame: The table.
        formulas: Leave texts as they are, also those that a spreadsheet program would compute.
    """
    if not formulas:
        frame = frame.copy()
        frame.columns = pd.Index([_cell(name) for name in frame.columns])
        for position, kind in enumerate(frame.dtypes):
            if not pd.api.types.is_numeric_dtype(kind):
                frame.isetitem(position, frame.iloc[:, position].astype(object).map(_cell).to_numpy())
    text: str = frame.to_csv(index=False, lineterminator="\n")
    return text


def read_csv(path: str) -> pd.DataFrame:
    """A file of :func:`csv`, with the original texts."""
    frame = pd.read_csv(path)
    frame.columns = pd.Index([unescape(str(name)) for name in frame.columns])
    for position, kind in enumerate(frame.dtypes):
        if not pd.api.types.is_numeric_dtype(kind):
            values = frame.iloc[:, position]
            texts = values.map(lambda value: unescape(value) if isinstance(value, str) else value)
            frame.isetitem(position, texts.to_numpy())
    return frame


def _cell(value: object) -> object:
    return escape(value) if isinstance(value, str) else value


def _is_number(text: str) -> bool:
    try:
        return text == text.strip() and math.isfinite(float(text))
    except ValueError:
        return False
