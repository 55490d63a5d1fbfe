"""Reading of columns of numbers and dates: values, bounds, errors and invalid cells."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfusion.data.schema.cells import (
    Codes,
    Floats,
    distinct,
    is_error,
    is_plain_number,
    one_column,
    refuse_cells,
    split_numbers,
    where,
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
    """The cells of a column as numbers.

    Attributes:
        values: Shape ``(n,)``, NaN where missing or not a number.
        bounds: Shape ``(n,)`` int8: -1 if the value is below the number (``<0.5``), 1 if it is above it, else 0.
        beyond: Shape ``(n,)``: numbers that are infinite or beyond the range of float32; their values are NaN.
        errors: Shape ``(n,)``: errors of a spreadsheet, such as ``#DIV/0!``.
        invalid: Shape ``(n,)``: all other cells that are not missing.
    """

    values: Floats
    bounds: Bounds
    beyond: Mask
    errors: Mask
    invalid: Mask


@dataclass(frozen=True)
class Remark:
    """A remark on some cells of a column.

    Attributes:
        column: The column's name.
        text: The remark with number and rows of the cells, but not their content: may be saved with results.
        cells: Content of the cells, with counts: only shown to the user.
        fix: What to do, with the option that does it.
    """

    column: str
    text: str
    cells: str = ""
    fix: str = field(default="", compare=False)

    def __str__(self) -> str:
        """The sentence with the cells."""
        return f"column {self.column!r}: {self.text}{': ' if self.cells else ''}{self.cells}"

    @property
    def without_cells(self) -> str:
        """The sentence without the cells."""
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
        notation: Notation of numbers in texts.
        missing: Further spellings of a missing cell, in lower case.
        units: Further units that may follow a number.
        part: 1 or 2 for cells such as ``120/80``; 0: cells are single numbers.
        words: Whether ``true`` and ``false`` are 1 and 0; None: only if all other numbers are 0 or 1.
    """
    if part:
        codes, texts = distinct(column, missing, errors=True)
        read, of_texts = read_ratios(texts, notation, part), np.zeros(len(texts), dtype=np.int8)
        values = np.full(len(column), np.nan)
    else:
        values, codes, texts = split_numbers(column, missing)
        if notation.thousands and not is_plain_number(column):
            values, codes, texts = _written(column, values, codes, texts)
        read, of_texts = read_numbers(texts, notation, units=units)
    is_text = codes >= 0
    values[is_text] = read[codes[is_text]]
    named = where(codes, texts, lambda text: text.lower() in ("true", "false"))
    if named.any() and not part:
        others = values[~named & ~np.isnan(values)]
        if not (bool(np.isin(others, (0.0, 1.0)).all()) if words is None else words):
            values[named] = np.nan
    bounds = np.append(of_texts, np.int8(0))[codes]
    errors = where(codes, texts, is_error)
    invalid = is_text & np.isnan(values) & ~errors
    if notation.percent and not part:
        signed = where(codes, texts, lambda text: "%" in text)
        shares = ~signed & (np.abs(values) <= 1) & (values != 0)
        invalid |= shares
        values[shares] = np.nan
    beyond = np.abs(values) > LARGEST
    values[beyond] = np.nan
    bounds[np.isnan(values)] = 0
    return Reading(values, bounds, beyond, errors, invalid)


def _written(column: "pd.Series", values: Floats, codes: Codes, texts: list[str]) -> tuple[Floats, Codes, list[str]]:
    """Move numbers that were texts with a point back to the texts: the point may separate thousands."""
    plain = [isinstance(cell, str) and "." in cell for cell in column.tolist()]
    again = np.asarray(plain) & (codes < 0) & ~np.isnan(values)
    more, more_texts = distinct(column[again])
    codes = codes.copy()
    codes[again] = len(texts) + more
    return values, codes, [*texts, *more_texts]


def notation_of(column: "pd.Series", missing: Collection[str] = ()) -> Notation:
    """The notation of a column's numbers; see :func:`~mmfusion.data.schema.numerals.find_notation`."""
    values, codes, texts = split_numbers(column, missing)
    return notation_of_split(column, values, codes, texts)


def notation_of_split(column: "pd.Series", values: Floats, codes: Codes, texts: Sequence[str]) -> Notation:
    """:func:`notation_of`, given the column's :func:`~mmfusion.data.schema.cells.split_numbers`."""
    known = ~np.isnan(values)
    if not texts:
        pointed = [] if is_plain_number(column) else _pointed(column[known])
        return Notation(",", ".") if pointed and points_separate(pointed) else Notation()
    plain = [text.strip() for text in pd.unique(column[known]) if isinstance(text, str)]
    return find_notation(texts, np.bincount(codes[codes >= 0], minlength=len(texts)).tolist(), plain, values[known])


def _pointed(column: "pd.Series") -> list[str]:
    """A column's distinct texts, if all with a point could be thousands; the first cells exclude most columns."""
    for cells in (column.iloc[:100], column):
        texts = [text.strip() for text in pd.unique(cells) if isinstance(text, str)]
        if not could_be_thousands([text for text in texts if "." in text]):
            return []
    return texts


def numbers(frame: pd.DataFrame, name: str, *, missing: Collection[str] = (), strict: bool = True) -> Floats:
    """A column's cells as numbers, shape ``(n,)``, NaN where missing; true and false are 1 and 0.

    The notation is inferred from the cells. A bound such as ``<0.5`` is its number; infinite numbers, those beyond the
    range of float32, and errors of a spreadsheet are missing.

    Args:
        frame: The table.
        name: The column.
        missing: More spellings of a missing cell, in lower case.
        strict: Raise an error for cells that are not numbers, instead of counting them as missing.

    Raises:
        ValueError: If cells are neither missing nor numbers; names rows and cells.
    """
    column = one_column(frame, name)
    reading = read_column(column, notation_of(column, missing), missing)
    if strict:
        refuse_cells(column, name, reading.invalid, "numbers")
    return reading.values


def read_date_column(column: "pd.Series", formats: Sequence[str], missing: Collection[str] = ()) -> Reading:
    """A column of dates as years with fractions.

    Args:
        column: The column.
        formats: Formats of pandas; each cell is read by the first that fits.
        missing: More spellings of a missing cell, in lower case.
    """
    n = len(column)
    none = np.zeros(n, dtype=np.bool_)
    if pd.api.types.is_datetime64_any_dtype(column):
        return Reading(as_years(column), np.zeros(n, dtype=np.int8), none, none, none)
    codes, texts = distinct(column, missing, errors=True)
    values = np.append(read_dates(texts, formats), np.nan)[codes]
    errors = where(codes, texts, is_error)
    return Reading(values, np.zeros(n, dtype=np.int8), none, errors, (codes >= 0) & np.isnan(values) & ~errors)


def remarks_of(name: str, column: "pd.Series", reading: Reading, kind: str, censored: str) -> list[Remark]:
    """Remarks on a column's cells.

    Args:
        name: The column's name.
        column: The column.
        reading: Its reading.
        kind: Kind of its cells in the singular, such as ``"number"``.
        censored: What bounds count as, in words.
    """
    groups = (
        (reading.beyond, "missing", "infinite or beyond the range of float32", "Correct the cells"),
        (reading.errors, "missing", "an error of a spreadsheet", "Correct the formula, or leave the cells empty"),
        (reading.invalid, "missing", f"no {kind}", "Correct the cells, or leave them empty"),
        (reading.bounds != 0, censored, "a bound", f"To mark bounds: overrides={{{name!r}: {{'censored': 'flag'}}}}"),
    )
    return [
        replace(cell_remark(name, column, mask, counts, reason), fix=fix)
        for mask, counts, reason, fix in groups
        if mask.any()
    ]


def cell_remark(name: str, column: "pd.Series", mask: Mask, counts_as: str, reason: str) -> Remark:
    """A remark on some cells: number, rows, what they count as, and why.

    Args:
        name: The column's name.
        column: The column.
        mask: Shape ``(n,)``, True for these cells.
        counts_as: What they count as, such as ``"missing"``.
        reason: What each of them is.
    """
    n = int(mask.sum())
    rows = [str(row) for row in column.index[mask][:_SHOWN_ROWS]]
    more = f" and {n - len(rows)} more" if n > len(rows) else ""
    several = n > 1
    text = (
        f"{n} cell{'s' if several else ''} in row{'s' if several else ''} {', '.join(rows)}{more} "
        f"count{'' if several else 's'} as {counts_as}, {'each ' if several else ''}{reason}"
    )
    return Remark(name, text, quoted(column[mask]))


def quoted(column: "pd.Series") -> str:
    """The distinct texts of a column with counts, the most frequent first."""
    codes, texts = distinct(column, errors=True)
    counts = np.bincount(codes[codes >= 0], minlength=len(texts))
    order = np.argsort(-counts, kind="stable")
    shown = [
        f"{(text if len(text) <= 24 else text[:21] + '...')!r} ({counts[i]}x)"
        for i in order[:_SHOWN_CELLS].tolist()
        for text in [texts[i]]
    ]
    return ", ".join(shown) + (f" and {len(texts) - len(shown)} more" if len(texts) > len(shown) else "")
