"""Cells of a table as texts or numbers, or as missing, whatever type pandas gave the column.

Each distinct value is parsed once, so that the cost depends on the number of values instead of rows.
"""

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
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
"""Errors that spreadsheets write instead of a value: missing in every column, and reported."""

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
    """Faults of columns.

    Attributes:
        faults: One line per column.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(faults))


def key(text: str) -> str:
    """A text without case and repeated blanks: equal for spellings of one category."""
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
    """Check that a table has columns.

    Raises:
        ValueError: If it lacks some; names them, and the columns that it has.
    """
    absent = [name for name in names if name not in frame.columns]
    if absent:
        available = ", ".join(map(str, frame.columns)) or "none"
        raise ValueError(f"{what} has no column {', '.join(map(repr, absent))}; its columns are: {available}")


def distinct(column: "pd.Series", missing: Collection[str] = (), *, errors: bool = False) -> tuple[Codes, list[str]]:
    """The distinct texts of a column's cells.

    Whole numbers have no decimal point: pandas converts integers to floats as soon as one cell is empty, and 1 and 1.0
    must be one category. Surrounding and repeated blanks are removed.

    Args:
        column: The column.
        missing: More spellings of a missing cell, in lower case.
        errors: Keep :data:`ERRORS` as texts instead of counting them as missing.

    Returns:
        Codes ``(n,)``, -1 where missing, and the text of each code, in the order of their first row.
    """
    column = _known_dtype(column)
    if column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) not in ("string", "empty"):
        # True and 1 are equal in Python; as texts they differ.
        column = pd.Series([_text(value) for value in column.tolist()], dtype=object)
    codes, uniques = pd.factorize(column)
    raw, values = np.asarray(codes, dtype=np.int64), list(uniques)
    missing_texts = MISSING.union(missing, () if errors else ERRORS)
    places: dict[str, int] = {}
    place = np.empty(len(values) + 1, dtype=np.int64)
    place[-1] = -1
    for i, value in enumerate(values):
        text = _text(value)
        place[i] = -1 if text is None or text.lower() in missing_texts else places.setdefault(text, len(places))
    return place[raw], list(places)


def where(codes: Codes, texts: Sequence[str], holds: Callable[[str], bool]) -> NDArray[np.bool_]:
    """Whether something holds of each cell's text, given the results of :func:`distinct`; False where missing."""
    return np.array([*map(holds, texts), False], dtype=np.bool_)[codes]


def is_error(text: str) -> bool:
    """Whether a text is one of :data:`ERRORS`."""
    return text.lower() in ERRORS


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
    """Split a column into plain numbers and texts.

    Args:
        column: The column.
        missing: More spellings of a missing cell, in lower case.

    Returns:
        Numbers ``(n,)``, NaN for other cells; codes ``(n,)`` of the other texts, -1 for numbers and missing cells; the
        other texts.
    """
    column = _known_dtype(column)
    if column.dtype == object:
        kind = pd.api.types.infer_dtype(column, skipna=True)
        if kind in ("floating", "integer", "mixed-integer-float"):
            column = pd.Series([_number(value) for value in column.tolist()], index=column.index, dtype=np.float64)
        elif kind != "string":
            return _split_mixed(column, missing)
    if pd.api.types.is_datetime64_any_dtype(column):
        codes, texts = distinct(column, missing, errors=True)
        return np.full(len(column), np.nan), codes, texts
    if is_plain_number(column):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    else:
        # Each text once: most columns repeat few values.
        codes, uniques = pd.factorize(column)
        parsed = pd.to_numeric(pd.Series(uniques), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        values = np.append(parsed, np.nan)[codes]
    if missing:
        values[np.isin(values, parse_numbers(sorted(missing)))] = np.nan
    rest, texts = np.full(len(column), -1, dtype=np.int64), []
    left = np.isnan(values)
    if left.any() and not is_plain_number(column):
        rest[left], texts = distinct(column[left], missing, errors=True)
    return values, rest, texts


def _split_mixed(column: "pd.Series", missing: Collection[str]) -> tuple[Floats, Codes, list[str]]:
    """:func:`split_numbers` of a column with numbers and other objects; any Python number is a number."""
    cells = column.tolist()
    is_number = np.array([isinstance(cell, int | float | np.number) and not isinstance(cell, bool) for cell in cells])
    values = np.array([_number(cell) if number else np.nan for cell, number in zip(cells, is_number)], dtype=np.float64)
    if missing:
        values[np.isin(values, parse_numbers(sorted(missing)))] = np.nan
    rest = np.full(len(column), -1, dtype=np.int64)
    rest[~is_number], texts = distinct(column[~is_number], missing, errors=True)
    return values, rest, texts


def _number(value: object) -> float:
    """A Python number as float, NaN if missing; integers beyond the range of floats become infinite."""
    if value is None or value is pd.NA or value is pd.NaT:
        return math.nan
    try:
        return float(cast("float", value))
    except OverflowError:
        return math.inf if cast("int", value) > 0 else -math.inf


def refuse_cells(column: "pd.Series", name: str, wrong: NDArray[np.bool_], what: str) -> None:
    """Raise an error for wrong cells of a column.

    Raises:
        ValueError: If any cell is wrong; names rows and cells.
    """
    if not wrong.any():
        return
    rows = np.flatnonzero(wrong)
    cells_text = "; ".join(f"row {column.index[i]} has {_text(column.iloc[i])!r}" for i in rows[:10])
    more = f"; and {len(rows) - 10} more" if len(rows) > 10 else ""
    raise ValueError(
        f"column {name!r} expects {what}, but {cells_text}{more}: correct the cell, or leave it empty if the value is "
        "unknown"
    )


def is_plain_number(column: "pd.Series") -> bool:
    """Whether the column has a numerical or boolean dtype."""
    return bool(pd.api.types.is_numeric_dtype(column)) and not pd.api.types.is_complex_dtype(column)


def parse_numbers(texts: Sequence[str], decimal: str = ".") -> Floats:
    """Each text as a number, shape ``(len(texts),)``; NaN if it is not one."""
    series = pd.Series(list(texts), dtype=object)
    if decimal == ",":
        swapped = [text.replace(".", "").replace(",", ".") if "," in text else text for text in texts]
        series = pd.Series(swapped, dtype=object)
    elif any("," in text for text in texts):
        series = pd.Series(
            [text.replace(",", "") if _THOUSANDS.fullmatch(text) else text for text in texts], dtype=object
        )
    values = pd.to_numeric(series, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    for i in np.flatnonzero(np.isnan(values)).tolist():
        lowered = texts[i].lower()
        if lowered in ("true", "false"):
            values[i] = float(lowered == "true")
    return values


def decimal_mark(texts: Sequence[str]) -> str:
    """The decimal mark in texts of numbers: a comma if there are commas that do not separate thousands.

    ``1,234`` alone is read as a fraction; in a column with ``1,234.5`` or ``1,234,567`` it is a thousand.
    """
    with_comma = [text for text in texts if "," in text]
    if not with_comma:
        return "."
    thousands = all(_THOUSANDS.fullmatch(text) for text in with_comma)
    has_thousands = any(text.count(",") > 1 or "." in text for text in with_comma)
    return "." if thousands and has_thousands else ","
