"""How the cells of a table are read, whatever pandas made of them: as text, as numbers, as dates; or as missing.

A column's distinct values are looked at once each, so that a hundred thousand rows cost what their values cost.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MISSING = frozenset(
    {"", "unknown", "unk", "na", "n/a", "n.a.", "#n/a", "nan", "<na>", "nat", "null", "?", "missing", "not available"}
)
"""Spellings of a missing cell, in lower case and without surrounding blanks. Not "none", which is an answer."""

ERRORS = frozenset(
    {"#div/0!", "#ref!", "#value!", "#name?", "#num!", "#null!", "#spill!", "#calc!", "#getting_data", "#####"}
)
"""What spreadsheets write in place of a value that they cannot compute: missing in every column, and reported."""

BOOLEANS: Mapping[str, bool] = {
    **dict.fromkeys(("true", "t", "yes", "y", "1", "on"), True),
    **dict.fromkeys(("false", "f", "no", "n", "0", "off"), False),
}
"""Spellings of a boolean, in lower case."""

_WHOLE = re.compile(r"[+-]?\d+\.0+")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


class ColumnFaults(ValueError):
    """Columns are not as they should be.

    Attributes:
        faults: A line for each column.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(faults))


def key(text: str) -> str:
    """What two spellings of one category share: neither case nor blanks count."""
    return " ".join(text.split()).casefold()


def one_column(frame: pd.DataFrame, name: str) -> "pd.Series":
    """A column by its name.

    Raises:
        ValueError: If several columns have it.
    """
    column = frame[name]
    if isinstance(column, pd.DataFrame):
        raise ValueError(f"the table has {column.shape[1]} columns called {name!r}: rename or remove all but one")
    return column


def require_columns(frame: pd.DataFrame, names: Sequence[str], what: str = "the table") -> None:
    """Refuse a table that lacks columns.

    Raises:
        ValueError: Naming every missing column, and those that are there.
    """
    absent = [name for name in names if name not in frame.columns]
    if absent:
        there = ", ".join(map(str, frame.columns)) or "none"
        raise ValueError(f"{what} has no column {', '.join(map(repr, absent))}; its columns are: {there}")


def distinct(column: "pd.Series", missing: Collection[str] = (), *, errors: bool = False) -> tuple[Codes, list[str]]:
    """A column's cells by their texts.

    A whole number is written without its decimal point: pandas turns a column of integers into floats as soon as one
    cell is empty, and 1 and 1.0 must stay one category. Blanks around a text and repeated ones in it do not count.

    Args:
        column: The column.
        missing: More spellings of a missing cell, in lower case.
        errors: Keep :data:`ERRORS` as texts, in place of counting them as missing.

    Returns:
        Codes ``(n,)``, -1 where missing, and the text that each code stands for, in the order of their first row.
    """
    column = _known_dtype(column)
    if column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) not in ("string", "empty"):
        # Python holds True and 1 for equal, a table does not: as text they differ.
        column = pd.Series([_text(value) for value in column.tolist()], dtype=object)
    codes, uniques = pd.factorize(column)
    raw, values = np.asarray(codes, dtype=np.int64), list(uniques)
    gone = MISSING.union(missing, () if errors else ERRORS)
    places: dict[str, int] = {}
    place = np.empty(len(values) + 1, dtype=np.int64)
    place[-1] = -1
    for i, value in enumerate(values):
        text = _text(value)
        place[i] = -1 if text is None or text.lower() in gone else places.setdefault(text, len(places))
    return place[raw], list(places)


def texts(frame: pd.DataFrame, name: str) -> list[str | None]:
    """A column's cells as text, None where missing; see :func:`distinct`."""
    codes, values = distinct(one_column(frame, name))
    table: list[str | None] = [*values, None]
    return [table[code] for code in codes.tolist()]


def _text(value: object) -> str | None:
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    text = " ".join(str(value).split())
    return text.partition(".")[0] if _WHOLE.fullmatch(text) else text


def _known_dtype(column: "pd.Series") -> "pd.Series":
    """Categories and complex numbers as Python's own; floats of a wider type in 64 bits, some of them infinite then."""
    if isinstance(column.dtype, pd.CategoricalDtype) or pd.api.types.is_complex_dtype(column):
        return column.astype(object)
    if isinstance(column.dtype, np.dtype) and column.dtype.kind == "f" and column.dtype.itemsize > 8:
        with np.errstate(over="ignore"):
            return column.astype(np.float64)
    return column


def split_numbers(column: "pd.Series", missing: Collection[str] = ()) -> tuple[Floats, Codes, list[str]]:
    """The cells that are numbers as they stand, and the texts of those that are neither that nor missing.

    Args:
        column: The column.
        missing: More spellings of a missing cell, in lower case.

    Returns:
        Numbers ``(n,)``, NaN where there is none; codes ``(n,)`` of the texts left, -1 where there is none; these
        texts.
    """
    column = _known_dtype(column)
    if column.dtype == object:
        kind = pd.api.types.infer_dtype(column, skipna=True)
        if kind in ("floating", "integer", "mixed-integer-float"):
            column = pd.Series([_number(value) for value in column.tolist()], index=column.index, dtype=np.float64)
        elif kind != "string":
            return _split_mixed(column, missing)
    if pd.api.types.is_datetime64_any_dtype(column):
        codes, found = distinct(column, missing, errors=True)
        return np.full(len(column), np.nan), codes, found
    if is_plain_number(column):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    else:
        # Each text once: most columns say the same few things again and again.
        codes, uniques = pd.factorize(column)
        parsed = pd.to_numeric(pd.Series(uniques), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        values = np.append(parsed, np.nan)[codes]
    if missing:
        values[np.isin(values, parse_numbers(sorted(missing)))] = np.nan
    rest, found = np.full(len(column), -1, dtype=np.int64), []
    left = np.isnan(values)
    if left.any() and not is_plain_number(column):
        rest[left], found = distinct(column[left], missing, errors=True)
    return values, rest, found


def _split_mixed(column: "pd.Series", missing: Collection[str]) -> tuple[Floats, Codes, list[str]]:
    """The same of a column of numbers and others: what Python holds as a number is one, however it would be written."""
    cells = column.tolist()
    is_number = np.array([isinstance(cell, int | float | np.number) and not isinstance(cell, bool) for cell in cells])
    values = np.array([_number(cell) if number else np.nan for cell, number in zip(cells, is_number)], dtype=np.float64)
    if missing:
        values[np.isin(values, parse_numbers(sorted(missing)))] = np.nan
    rest = np.full(len(column), -1, dtype=np.int64)
    rest[~is_number], found = distinct(column[~is_number], missing, errors=True)
    return values, rest, found


def _number(value: object) -> float:
    """What Python holds as a number, or as missing; whole numbers that no float can hold are infinite."""
    if value is None or value is pd.NA or value is pd.NaT:
        return math.nan
    try:
        return float(cast("float", value))
    except OverflowError:
        return math.inf if cast("int", value) > 0 else -math.inf


def refuse_cells(column: "pd.Series", name: str, wrong: NDArray[np.bool_], what: str) -> None:
    """Refuse cells of a column.

    Raises:
        ValueError: If there are any: which rows, what is there.
    """
    if not wrong.any():
        return
    rows = np.flatnonzero(wrong)
    named = "; ".join(f"row {column.index[i]} has {_text(column.iloc[i])!r}" for i in rows[:10])
    more = f"; and {len(rows) - 10} more" if len(rows) > 10 else ""
    raise ValueError(
        f"column {name!r} holds {what}, but {named}{more}: correct the cell, or leave it empty if the value is not "
        "known"
    )


def is_plain_number(column: "pd.Series") -> bool:
    """Whether pandas holds the column as numbers or booleans already."""
    return bool(pd.api.types.is_numeric_dtype(column)) and not pd.api.types.is_complex_dtype(column)


def parse_numbers(found: Sequence[str], decimal: str = ".") -> Floats:
    """Each text's number, shape ``(len(found),)``; NaN where it is none."""
    series = pd.Series(list(found), dtype=object)
    if decimal == ",":
        swapped = [text.replace(".", "").replace(",", ".") if "," in text else text for text in found]
        series = pd.Series(swapped, dtype=object)
    elif any("," in text for text in found):
        series = pd.Series(
            [text.replace(",", "") if _THOUSANDS.fullmatch(text) else text for text in found], dtype=object
        )
    values = pd.to_numeric(series, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    for i in np.flatnonzero(np.isnan(values)).tolist():
        lowered = found[i].lower()
        if lowered in ("true", "false"):
            values[i] = float(lowered == "true")
    return values


def decimal_mark(found: Sequence[str]) -> str:
    """What separates the fractions in texts of numbers: a comma, if commas stand there that are not for thousands.

    ``1,234`` alone is read as a fraction; beside ``1,234.5`` or ``1,234,567`` it is a thousand.
    """
    with_comma = [text for text in found if "," in text]
    if not with_comma:
        return "."
    thousands = all(_THOUSANDS.fullmatch(text) for text in with_comma)
    told = any(text.count(",") > 1 or "." in text for text in with_comma)
    return "." if thousands and told else ","
