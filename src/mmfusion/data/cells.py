"""How the cells of a table are read, whatever pandas made of them: as text, as numbers, as dates; or as missing.

A column's distinct values are looked at once each, so that a hundred thousand rows cost what their values cost.
"""

import re
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MISSING = frozenset(
    {"", "unknown", "unk", "na", "n/a", "n.a.", "#n/a", "nan", "<na>", "nat", "null", "?", "missing", "not available"}
)
"""Spellings of a missing cell, in lower case and without surrounding blanks. Not "none", which is an answer."""

BOOLEANS: Mapping[str, bool] = {
    **dict.fromkeys(("true", "t", "yes", "y", "1", "on"), True),
    **dict.fromkeys(("false", "f", "no", "n", "0", "off"), False),
}
"""Spellings of a boolean, in lower case."""

DATE_FORMATS = (
    "ISO8601",
    "%d.%m.%Y",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d-%m-%Y",
    "%d.%m.%y",
    "%d/%m/%y",
    "%m/%d/%y",
)
"""As pandas writes them, in the order in which they are tried: where both fit, the day comes before the month."""

_WHOLE = re.compile(r"[+-]?\d+\.0+")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")
_DATE_LIKE = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}([ T].*)?")
_DAYS_A_YEAR = 365.2425

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


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


def distinct(column: "pd.Series", missing: Collection[str] = ()) -> tuple[Codes, list[str]]:
    """A column's cells by their texts.

    A whole number is written without its decimal point: pandas turns a column of integers into floats as soon as one
    cell is empty, and 1 and 1.0 must stay one category. Blanks around a text and repeated ones in it do not count.

    Args:
        column: The column.
        missing: More spellings of a missing cell, in lower case.

    Returns:
        Codes ``(n,)``, -1 where missing, and the text that each code stands for, in the order of their first row.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    if column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) not in ("string", "empty"):
        # Python holds True and 1 for equal, a table does not: as text they differ.
        column = pd.Series([_text(value) for value in column.tolist()], dtype=object)
    codes, uniques = pd.factorize(column)
    raw, values = np.asarray(codes, dtype=np.int64), list(uniques)
    gone = MISSING.union(missing) if missing else MISSING
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


def numbers(frame: pd.DataFrame, name: str, *, decimal: str = ".", missing: Collection[str] = ()) -> Floats:
    """A column's cells as numbers, shape ``(n,)``, NaN where missing; true and false are 1 and 0.

    Args:
        frame: The table.
        name: The column.
        decimal: What separates the fraction; with a comma, points before it separate thousands.
        missing: More spellings of a missing cell, in lower case.

    Raises:
        ValueError: If cells are neither missing nor finite numbers: which rows, what is there.
    """
    column = one_column(frame, name)
    values, rest, found = split_numbers(column, missing)
    if found:
        values[rest >= 0] = parse_numbers(found, decimal)[rest[rest >= 0]]
    _refuse(column, name, np.isinf(values) | (np.isnan(values) & (rest >= 0)), "numbers")
    return values


def split_numbers(column: "pd.Series", missing: Collection[str] = ()) -> tuple[Floats, Codes, list[str]]:
    """The cells that are numbers as they stand, and the texts of those that are neither that nor missing.

    Args:
        column: The column.
        missing: More spellings of a missing cell, in lower case.

    Returns:
        Numbers ``(n,)``, NaN where there is none; codes ``(n,)`` of the texts left, -1 where there is none; these
        texts.
    """
    if column.dtype == object:
        kind = pd.api.types.infer_dtype(column, skipna=True)
        if kind in ("floating", "integer", "mixed-integer-float"):
            column = pd.to_numeric(column)
        elif kind != "string":
            codes, found = distinct(column, missing)
            return np.full(len(column), np.nan), codes, found
    if isinstance(column.dtype, pd.CategoricalDtype) or pd.api.types.is_datetime64_any_dtype(column):
        codes, found = distinct(column, missing)
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
        rest[left], found = distinct(column[left], missing)
    return values, rest, found


def years(frame: pd.DataFrame, name: str, date_format: str, missing: Collection[str] = ()) -> Floats:
    """A column's cells as years and fractions of a year, shape ``(n,)``, NaN where missing.

    Args:
        frame: The table.
        name: The column.
        date_format: One of :data:`DATE_FORMATS`, or any that pandas knows.
        missing: More spellings of a missing cell, in lower case.

    Raises:
        ValueError: If cells are neither missing nor such dates: which rows, what is there.
    """
    column = one_column(frame, name)
    if pd.api.types.is_datetime64_any_dtype(column):
        return _years(column)
    codes, found = distinct(column, missing)
    values = np.append(_years(parse_dates(found, date_format)), np.nan)[codes]
    _refuse(column, name, (codes >= 0) & np.isnan(values), f"dates as in {date_format}")
    return values


def _refuse(column: "pd.Series", name: str, wrong: NDArray[np.bool_], what: str) -> None:
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


def parse_dates(found: Sequence[str], date_format: str) -> "pd.Series":
    """Each text's date; NaT where it is none."""
    return pd.to_datetime(pd.Series(list(found), dtype=object), format=date_format, errors="coerce", utc=True)


def date_format(found: Sequence[str]) -> str | None:
    """The first format that all texts are dates in; None: they are none."""
    if not found or not all(_DATE_LIKE.fullmatch(text) for text in found):
        return None
    few = list(found[:50])
    for candidate in DATE_FORMATS:
        if parse_dates(few, candidate).notna().all() and parse_dates(found, candidate).notna().all():
            return candidate
    return None


def _years(dates: "pd.Series") -> Floats:
    if dates.dt.tz is not None:
        dates = dates.dt.tz_convert(None)
    days = (dates - pd.Timestamp(1970, 1, 1)) / pd.Timedelta(days=1)
    return np.asarray(1970 + days.to_numpy(dtype=np.float64, na_value=np.nan) / _DAYS_A_YEAR, dtype=np.float64)
