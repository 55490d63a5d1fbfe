"""Columns of numbers, read cell by cell: values, bounds, and which cells are no numbers."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfusion.data.schema.cells import (
    ERRORS,
    Codes,
    Floats,
    distinct,
    is_plain_number,
    one_column,
    refuse_cells,
    split_numbers,
)
from mmfusion.data.schema.dates import as_years, read_dates
from mmfusion.data.schema.numerals import (
    LARGEST,
    Bounds,
    Notation,
    could_be_thousands,
    find_notation,
    points_separate,
    read_numbers,
    read_ratios,
)

Mask = NDArray[np.bool_]
_SHOWN_ROWS = 10
_SHOWN_CELLS = 5


@dataclass(frozen=True)
class Reading:
    """What the cells of a column are as numbers.

    Attributes:
        values: Shape ``(n,)``, NaN where missing or no number.
        bounds: Shape ``(n,)`` int8: -1 where the value is only known to be below the number (``<0.5``), 1 above it,
            else 0.
        beyond: Shape ``(n,)``: numbers that are infinite or beyond the range of float32; their values are NaN.
        errors: Shape ``(n,)``: what a spreadsheet could not compute, such as ``#DIV/0!``.
        invalid: Shape ``(n,)``: cells that are neither missing nor any of these nor numbers.
    """

    values: Floats
    bounds: Bounds
    beyond: Mask
    errors: Mask
    invalid: Mask


@dataclass(frozen=True)
class Remark:
    """What a reader should know of some cells of a column.

    Attributes:
        column: The column's name.
        text: What they are, how many, and their rows, but not what is in them: to be kept with results.
        cells: What is in them, with counts: for the user's eyes.
    """

    column: str
    text: str
    cells: str = ""

    def __str__(self) -> str:
        """One sentence, with the cells."""
        return f"column {self.column!r}: {self.text}{': ' if self.cells else ''}{self.cells}"

    @property
    def without_cells(self) -> str:
        """The same sentence without them."""
        return f"column {self.column!r}: {self.text}"


def read_column(
    column: "pd.Series",
    notation: Notation,
    missing: Collection[str] = (),
    *,
    units: Sequence[str] = (),
    part: int = 0,
    words: bool | None = None,
) -> Reading:
    """A column's cells as numbers.

    Args:
        column: The column.
        notation: How its texts write numbers.
        missing: More spellings of a missing cell, in lower case.
        units: Other units that may follow a number, beside the notation's.
        part: Of cells such as ``120/80``, 1 or 2; 0: cells are one number each.
        words: Whether ``true`` and ``false`` are 1 and 0; None: where all other numbers are 1 or 0 too.
    """
    if part:
        codes, found = distinct(column, missing, errors=True)
        read, of_texts = read_ratios(found, notation, part), np.zeros(len(found), dtype=np.int8)
        values = np.full(len(column), np.nan)
    else:
        values, codes, found = split_numbers(column, missing)
        if notation.thousands and not is_plain_number(column):
            values, codes, found = _written(column, values, codes, found)
        read, of_texts = read_numbers(found, notation, units=units)
    is_text = codes >= 0
    values[is_text] = read[codes[is_text]]
    named = np.array([*(text.lower() in ("true", "false") for text in found), False], dtype=np.bool_)[codes]
    if named.any() and not part:
        others = values[~named & ~np.isnan(values)]
        if not (bool(np.isin(others, (0.0, 1.0)).all()) if words is None else words):
            values[named] = np.nan
    bounds = np.append(of_texts, np.int8(0))[codes]
    errors = np.array([*(text.lower() in ERRORS for text in found), False], dtype=np.bool_)[codes]
    invalid = is_text & np.isnan(values) & ~errors
    if notation.percent and not part:
        signed = np.array([*("%" in text for text in found), False], dtype=np.bool_)[codes]
        shares = ~signed & (np.abs(values) <= 1) & (values != 0)
        invalid |= shares
        values[shares] = np.nan
    beyond = np.abs(values) > LARGEST
    values[beyond] = np.nan
    bounds[np.isnan(values)] = 0
    return Reading(values, bounds, beyond, errors, invalid)


def _written(column: "pd.Series", values: Floats, codes: Codes, found: list[str]) -> tuple[Floats, Codes, list[str]]:
    """Texts with a point that were taken for numbers as they stand, as texts: the point may separate thousands."""
    plain = [isinstance(cell, str) and "." in cell for cell in column.tolist()]
    again = np.asarray(plain) & (codes < 0) & ~np.isnan(values)
    more, texts = distinct(column[again])
    codes = codes.copy()
    codes[again] = len(found) + more
    return values, codes, [*found, *texts]


def notation_of(column: "pd.Series", missing: Collection[str] = ()) -> Notation:
    """How a column writes numbers; see :func:`~mmfusion.data.schema.numerals.find_notation`."""
    values, codes, found = split_numbers(column, missing)
    return notation_of_split(column, values, codes, found)


def notation_of_split(column: "pd.Series", values: Floats, codes: Codes, found: Sequence[str]) -> Notation:
    """The same of what :func:`~mmfusion.data.schema.cells.split_numbers` gave for the column."""
    there = ~np.isnan(values)
    if not found:
        texts = [] if is_plain_number(column) else _pointed(column[there])
        return Notation(",", ".") if texts and points_separate(texts) else Notation()
    plain = [text.strip() for text in pd.unique(column[there]) if isinstance(text, str)]
    return find_notation(found, np.bincount(codes[codes >= 0], minlength=len(found)).tolist(), plain, values[there])


def _pointed(column: "pd.Series") -> list[str]:
    """A column's different texts, if all that have a point could be thousands; a look at a few saves most columns."""
    for cells in (column.iloc[:100], column):
        texts = [text.strip() for text in pd.unique(cells) if isinstance(text, str)]
        if not could_be_thousands([text for text in texts if "." in text]):
            return []
    return texts


def numbers(frame: pd.DataFrame, name: str, *, missing: Collection[str] = (), strict: bool = True) -> Floats:
    """A column's cells as numbers, shape ``(n,)``, NaN where missing; true and false are 1 and 0.

    How they are written is told from the cells. Of a bound such as ``<0.5`` it is the number; infinite numbers, those
    beyond the range of float32, and errors of a spreadsheet are missing.

    Args:
        frame: The table.
        name: The column.
        missing: More spellings of a missing cell, in lower case.
        strict: Raise an error for cells that are no numbers, in place of taking them for missing.

    Raises:
        ValueError: If cells are neither missing nor numbers: which rows, what is there.
    """
    column = one_column(frame, name)
    reading = read_column(column, notation_of(column, missing), missing)
    if strict:
        refuse_cells(column, name, reading.invalid, "numbers")
    return reading.values


def read_date_column(column: "pd.Series", formats: Sequence[str], missing: Collection[str] = ()) -> Reading:
    """A column's cells as years and fractions of a year.

    Args:
        column: The column.
        formats: As pandas writes them; the first that fits a cell reads it.
        missing: More spellings of a missing cell, in lower case.
    """
    n = len(column)
    none = np.zeros(n, dtype=np.bool_)
    if pd.api.types.is_datetime64_any_dtype(column):
        return Reading(as_years(column), np.zeros(n, dtype=np.int8), none, none, none)
    codes, found = distinct(column, missing, errors=True)
    values = np.append(read_dates(found, formats), np.nan)[codes]
    errors = np.array([*(text.lower() in ERRORS for text in found), False], dtype=np.bool_)[codes]
    return Reading(values, np.zeros(n, dtype=np.int8), none, errors, (codes >= 0) & np.isnan(values) & ~errors)


def remarks_of(name: str, column: "pd.Series", reading: Reading, what: str, censored: str) -> list[Remark]:
    """What a reader should know of a column's cells.

    Args:
        name: Of the column.
        column: The column.
        reading: What was read of it.
        what: It holds, in the singular: ``"number"``, say.
        censored: What bounds become, in words.
    """
    groups = (
        (reading.beyond, "missing", "infinite or beyond the range of float32"),
        (reading.errors, "missing", "an error of a spreadsheet"),
        (reading.invalid, "missing", f"no {what}"),
        (reading.bounds != 0, censored, "a bound"),
    )
    return [cell_remark(name, column, mask, counts, why) for mask, counts, why in groups if mask.any()]


def cell_remark(name: str, column: "pd.Series", mask: Mask, counts_as: str, why: str) -> Remark:
    """A remark of some cells: how many, in which rows, what they count as, and why.

    Args:
        name: Of the column.
        column: The column.
        mask: Shape ``(n,)``: which cells.
        counts_as: ``"missing"``, say.
        why: What each of them is.
    """
    n = int(mask.sum())
    rows = [str(row) for row in column.index[mask][:_SHOWN_ROWS]]
    more = f" and {n - len(rows)} more" if n > len(rows) else ""
    several = n > 1
    text = (
        f"{n} cell{'s' if several else ''} in row{'s' if several else ''} {', '.join(rows)}{more} "
        f"count{'' if several else 's'} as {counts_as}, {'each ' if several else ''}{why}"
    )
    return Remark(name, text, quoted(column[mask]))


def quoted(column: "pd.Series") -> str:
    """The cells of a column by their texts, the most frequent first, with counts."""
    codes, found = distinct(column, errors=True)
    counts = np.bincount(codes[codes >= 0], minlength=len(found))
    order = np.argsort(-counts, kind="stable")
    said = [
        f"{(text if len(text) <= 24 else text[:21] + '...')!r} ({counts[i]}x)"
        for i in order[:_SHOWN_CELLS].tolist()
        for text in [found[i]]
    ]
    return ", ".join(said) + (f" and {len(found) - len(said)} more" if len(found) > len(said) else "")
