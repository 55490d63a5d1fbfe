"""Survey of a column's cells in one pass: numbers or texts, and the notation of numbers."""

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
"""Whole numbers with at most this many values, each in ten rows on average, are levels instead of amounts."""
MOST_CATEGORIES = 64
"""A text column of more values is an identifier or free text, unless an override says otherwise."""
FEW = 0.1
"""Numbers are a column's kind if at most this share of its cells is something else; or half of them, if there are more
than :data:`MOST_LEVELS` different numbers and only :data:`FEW_WORDS` different others."""
FEW_WORDS = 5
PLAIN = Notation()
_TRIED = 50


@dataclass(frozen=True)
class CellSurvey:
    """Result of a pass over a column.

    Attributes:
        codes: Shape ``(n,)``: index of each cell's text, -1 where missing; for a column of numbers 0 where present.
        texts: The distinct texts; of numbers the first few.
        values: For a column of numbers, the distinct numbers, ascending.
        cells: For a column of numbers, the number of each cell, NaN where missing, shape ``(n,)``.
        notation: Notation of the numbers.
        plain: Whether all numbers are written as in Python.
        n_censored: Cells that are bounds, such as ``<0.5``.
        n_numbers: Cells that are numbers.
        clean: Whether no cell needs a remark.
        invalid: For a column of numbers, cells that are not numbers, shape ``(n,)``; None: there are none.
    """

    codes: Codes
    texts: list[str]
    values: Floats | None = None
    cells: Floats | None = None
    notation: Notation = PLAIN
    plain: bool = True
    n_censored: int = 0
    n_numbers: int = 0
    clean: bool = False
    invalid: NDArray[np.bool_] | None = None

    @property
    def n_present(self) -> int:
        """Cells that are not missing."""
        return int((self.codes >= 0).sum())

    @property
    def whole(self) -> bool:
        """Whether all values are whole numbers."""
        return self.values is not None and bool(np.all(self.values == np.round(self.values)))


def few(n: int, n_cells: int, n_words: int, n_values: int) -> bool:
    """Whether cells of another kind are so few that they do not change the kind of the column.

    Args:
        n: Number of cells of another kind.
        n_cells: Number of cells that are not missing.
        n_words: Number of distinct texts of another kind.
        n_values: Number of distinct values of the column's kind.
    """
    return n <= FEW * n_cells or (2 * n <= n_cells and n_values > MOST_LEVELS and n_words <= FEW_WORDS)


def survey_cells(column: "pd.Series", options: Mapping[str, Any]) -> CellSurvey:
    """Survey a column.

    Args:
        column: The column.
        options: Known attributes of the column: ``missing``, ``decimal``, ``suffix`` and the like.
    """
    missing = [text.lower() for text in options.get("missing", ())]
    n_numbers = 0
    if not pd.api.types.is_bool_dtype(column):
        # Numbers are not converted to texts: a measured column has as many values as rows.
        values, rest, texts = split_numbers(column, missing)
        n_numbers = int((~np.isnan(values)).sum())
        if n_numbers or _perhaps_numbers(texts):
            notation = _with_options(notation_of_split(column, values, rest, texts), options)
            again = bool(texts) or notation != PLAIN
            reading = read_column(column, notation, missing) if again else _as_it_stands(column, values)
            n_numbers = int((~np.isnan(reading.values)).sum())
            if _is_numeric(column, reading, missing, rest, texts):
                return _of_numbers(reading, notation, texts, rest)
        else:
            return _of_texts(rest, texts)
    codes, texts = distinct(column, missing)
    return CellSurvey(codes, texts, n_numbers=n_numbers)


def _with_options(notation: Notation, options: Mapping[str, Any]) -> Notation:
    known = {name: options[name] for name in ("decimal", "thousands", "suffix", "percent") if name in options}
    return replace(notation, **known)


def _as_it_stands(column: "pd.Series", values: Floats) -> Reading:
    return read_column(pd.Series(values, index=column.index), Notation())


def _perhaps_numbers(texts: Sequence[str]) -> bool:
    """Whether a sample of the texts has numbers; saves parsing a hundred thousand sentences."""
    sample = list(texts[:_TRIED])
    return bool(sample) and not np.isnan(read_numbers(sample, find_notation(sample, [1] * len(sample)))[0]).all()


def _is_numeric(column: "pd.Series", reading: Reading, missing: Sequence[str], rest: Codes, texts: list[str]) -> bool:
    """Whether a column has numbers, except for a few cells."""
    n_numbers = int((~np.isnan(reading.values)).sum() + reading.beyond.sum())
    n_invalid = int(reading.invalid.sum())
    if not n_numbers:
        return False
    n_booleans = sum(
        int((rest == i).sum()) for i, text in enumerate(texts[:_TRIED]) if text.lower() in ("true", "false")
    )
    if not n_invalid and not n_booleans and not reading.bounds.any():
        return True
    n_cells, known = n_numbers + n_invalid, ~np.isnan(reading.values)
    n_values = len(np.unique(reading.values[known]))
    words = distinct(column[reading.invalid], missing)[1]
    n_censored = int((reading.bounds != 0).sum())
    if n_booleans > FEW * n_cells or not few(n_invalid, n_cells, len(words), n_values):
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
    sample = [text for text in words[:_TRIED] if looks_like_date(text)]
    return 2 * int(date_formats(sample, [1] * len(sample))[1].sum()) >= min(len(words), _TRIED)


def _of_numbers(reading: Reading, notation: Notation, texts: list[str], rest: Codes) -> CellSurvey:
    present = ~np.isnan(reading.values)
    values = np.unique(reading.values[present])
    shown = values[:MOST_CATEGORIES]
    shown_texts = [f"{value:.0f}" if value == round(value) else repr(float(value)) for value in shown]
    return CellSurvey(
        np.where(present, 0, -1).astype(np.int64),
        shown_texts,
        values,
        reading.values,
        notation,
        plain=not notation.thousands and not (present & (rest >= 0)).any(),
        n_censored=int((reading.bounds != 0).sum()),
        n_numbers=int(present.sum()),
        clean=not any(mask.any() for mask in (reading.bounds, reading.beyond, reading.errors, reading.invalid)),
        invalid=reading.invalid if reading.invalid.any() else None,
    )


def _of_texts(codes: Codes, texts: list[str]) -> CellSurvey:
    """Survey of a column of texts; errors of spreadsheets count as missing."""
    place = np.full(len(texts) + 1, -1, dtype=np.int64)
    kept = [i for i, text in enumerate(texts) if text.lower() not in ERRORS]
    place[kept] = np.arange(len(kept))
    return CellSurvey(place[codes], [texts[i] for i in kept], clean=len(kept) == len(texts))
