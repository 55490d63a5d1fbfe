"""One pass over a column: whether its cells are numbers, but for a few, and how they are written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfusion.data.schema.cells import BOOLEANS, ERRORS, Codes, Floats, distinct, key, split_numbers
from mmfusion.data.schema.dates import date_formats, is_year, looks_like_date
from mmfusion.data.schema.number_cells import Reading, notation_of_split, read_column
from mmfusion.data.schema.numerals import Notation, find_notation, read_numbers

MOST_LEVELS = 10
"""Whole numbers of at most so many values, each in ten rows on average, are levels rather than amounts."""
MOST_CATEGORIES = 64
"""A text column of more values is an identifier or free text, unless told otherwise."""
FEW = 0.1
"""Numbers are a column's kind if at most this share of its cells is something else; or half of them, if there are more
than :data:`MOST_LEVELS` different numbers and only :data:`FEW_WORDS` different others."""
FEW_WORDS = 5
PLAIN = Notation()
_TRIED = 50


@dataclass(frozen=True)
class Look:
    """What one pass over a column shows.

    Attributes:
        codes: Shape ``(n,)``: which text each cell is, -1 where missing; of a column of numbers 0 where there is one.
        found: The texts; of numbers the first few.
        values: The different numbers, ascending, where the column is one of numbers.
        cells: Shape ``(n,)``: each cell's number, NaN where there is none, where the column is one of numbers.
        notation: How these are written.
        plain: Whether all that are numbers are written as Python would.
        n_censored: Cells that are bounds, such as ``<0.5``.
        n_numbers: Cells that are numbers.
        clean: Whether no cell needs a remark.
        invalid: Shape ``(n,)``: cells that are something else, where the column is one of numbers and has such.
    """

    codes: Codes
    found: list[str]
    values: Floats | None = None
    cells: Floats | None = None
    notation: Notation = PLAIN
    plain: bool = True
    n_censored: int = 0
    n_numbers: int = 0
    clean: bool = False
    invalid: NDArray[np.bool_] | None = None

    @property
    def n_there(self) -> int:
        """Cells that are not missing."""
        return int((self.codes >= 0).sum())

    @property
    def whole(self) -> bool:
        """Whether all values are whole numbers."""
        return self.values is not None and bool(np.all(self.values == np.round(self.values)))


def few(n: int, n_cells: int, n_words: int, n_values: int) -> bool:
    """Whether cells are so few that the column is of the kind of the others.

    Args:
        n: Cells that are something else.
        n_cells: All that are not missing.
        n_words: Different ones of the first.
        n_values: Different ones of the others.
    """
    return n <= FEW * n_cells or (2 * n <= n_cells and n_values > MOST_LEVELS and n_words <= FEW_WORDS)


def look_at(column: "pd.Series", options: Mapping[str, Any]) -> Look:
    """Look at a column.

    Args:
        column: The column.
        options: What is known of it: ``missing``, ``decimal``, ``suffix`` and the like.
    """
    missing = [text.lower() for text in options.get("missing", ())]
    n_numbers = 0
    if not pd.api.types.is_bool_dtype(column):
        # Without a detour over texts where there are numbers: a measured column has as many values as rows.
        values, rest, found = split_numbers(column, missing)
        n_numbers = int((~np.isnan(values)).sum())
        if n_numbers or _perhaps_numbers(found):
            notation = _told(notation_of_split(column, values, rest, found), options)
            again = bool(found) or notation != PLAIN
            reading = read_column(column, notation, missing) if again else _as_it_stands(column, values)
            n_numbers = int((~np.isnan(reading.values)).sum())
            if _is_numeric(column, reading, missing, rest, found):
                return _of_numbers(reading, notation, found, rest)
        else:
            return _of_texts(rest, found)
    codes, texts = distinct(column, missing)
    return Look(codes, texts, n_numbers=n_numbers)


def _told(notation: Notation, options: Mapping[str, Any]) -> Notation:
    known = {name: options[name] for name in ("decimal", "thousands", "suffix", "percent") if name in options}
    return replace(notation, **known)


def _as_it_stands(column: "pd.Series", values: Floats) -> Reading:
    return read_column(pd.Series(values, index=column.index), Notation())


def _perhaps_numbers(found: Sequence[str]) -> bool:
    """Whether it is worth trying: a look at a few saves reading a hundred thousand sentences."""
    tried = list(found[:_TRIED])
    return bool(tried) and not np.isnan(read_numbers(tried, find_notation(tried, [1] * len(tried)))[0]).all()


def _is_numeric(column: "pd.Series", reading: Reading, missing: Sequence[str], rest: Codes, found: list[str]) -> bool:
    """Whether a column is one of numbers, but for a few cells."""
    n_numbers = int((~np.isnan(reading.values)).sum() + reading.beyond.sum())
    n_invalid = int(reading.invalid.sum())
    if not n_numbers:
        return False
    named = sum(int((rest == i).sum()) for i, text in enumerate(found[:_TRIED]) if text.lower() in ("true", "false"))
    if not n_invalid and not named and not reading.bounds.any():
        return True
    n_cells, known = n_numbers + n_invalid, ~np.isnan(reading.values)
    n_values = len(np.unique(reading.values[known]))
    words = distinct(column[reading.invalid], missing)[1]
    n_censored = int((reading.bounds != 0).sum())
    if named > FEW * n_cells or not few(n_invalid, n_cells, len(words), n_values):
        return False
    if n_values + len(words) <= 2 * len(BOOLEANS):
        texts = distinct(column, missing)[1]
        if len(texts) <= 2 * len(BOOLEANS) and {key(text) for text in texts} <= set(BOOLEANS):
            return False
    if n_censored:
        # "<65" and ">65", or the last of a few levels, "3+", are categories.
        exact = len(np.unique(reading.values[known & (reading.bounds == 0)]))
        levels = n_values <= MOST_LEVELS and n_censored > FEW * n_cells
        if 2 * n_censored > n_cells or exact < 2 or levels:
            return False
    return not _are_years_among_dates(reading, words)


def _are_years_among_dates(reading: Reading, words: Sequence[str]) -> bool:
    """Whether the numbers are years, and most of the rest dates: "2020" beside "January 22, 2020"."""
    numbers = np.unique(reading.values[~np.isnan(reading.values)])
    if not words or len(numbers) > 400 or not all(is_year(f"{number:g}") for number in numbers):
        return False
    tried = [text for text in words[:_TRIED] if looks_like_date(text)]
    return 2 * int(date_formats(tried, [1] * len(tried))[1].sum()) >= min(len(words), _TRIED)


def _of_numbers(reading: Reading, notation: Notation, found: list[str], rest: Codes) -> Look:
    there = ~np.isnan(reading.values)
    values = np.unique(reading.values[there])
    shown = values[:MOST_CATEGORIES]
    said = [f"{value:.0f}" if value == round(value) else repr(float(value)) for value in shown]
    return Look(
        np.where(there, 0, -1).astype(np.int64),
        said,
        values,
        reading.values,
        notation,
        plain=not notation.thousands and not (there & (rest >= 0)).any(),
        n_censored=int((reading.bounds != 0).sum()),
        n_numbers=int(there.sum()),
        clean=not any(one.any() for one in (reading.bounds, reading.beyond, reading.errors, reading.invalid)),
        invalid=reading.invalid if reading.invalid.any() else None,
    )


def _of_texts(codes: Codes, found: list[str]) -> Look:
    """A look at texts, of which those that a spreadsheet wrote for want of a value are missing."""
    place = np.full(len(found) + 1, -1, dtype=np.int64)
    kept = [i for i, text in enumerate(found) if text.lower() not in ERRORS]
    place[kept] = np.arange(len(kept))
    return Look(place[codes], [found[i] for i in kept], clean=len(kept) == len(found))
