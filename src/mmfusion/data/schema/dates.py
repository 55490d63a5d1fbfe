"""Parsing of dates in one or several formats, to years with fractions."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfusion.data.schema.cells import Floats

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
"""Formats of pandas, in the order in which they are tried: if both fit, the day comes before the month."""

MORE_FORMATS = (
    *DATE_FORMATS,
    "%m-%d-%Y",
    "%b %d %Y",
    "%d %b %Y",
    "%d %b %y",
    "%Y %b %d",
    "%b %Y",
    "%m/%Y",
    "%m.%Y",
)
"""Formats that are tried, after :func:`plain_date`, if no format of :data:`DATE_FORMATS` fits all cells."""

_DATE_LIKE = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}([ T].*)?")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = re.compile(
    r"(?i)\b(jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?|sept?(ember)?|oct(ober)?|"
    r"nov(ember)?|dec(ember)?)\b"
)
_WEEKDAY = re.compile(r"(?i)^(mon|tues?|wed(nes)?|thu(rs?)?|fri|sat(ur)?|sun)(day)?\b[,. ]*")
_TIME = re.compile(r"(?i)[ T,]+\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?[ap]\.?m\.?)?$")
_YEAR = re.compile(r"(1[89]|2[01])\d\d")
_OF_NUMBERS = re.compile(r"\d{1,4}[-./]\d{1,4}([-./]\d{1,4})?")
_DAYS_A_YEAR = 365.2425


def parse_dates(texts: Sequence[str], date_format: str) -> "pd.Series":
    """Each text as a date; NaT if it is not one."""
    return pd.to_datetime(pd.Series(list(texts), dtype=object), format=date_format, errors="coerce", utc=True)


def date_format(texts: Sequence[str]) -> str | None:
    """The first of :data:`DATE_FORMATS` that fits all texts; None if there is none."""
    if not texts or not all(_DATE_LIKE.fullmatch(text) for text in texts):
        return None
    few = list(texts[:50])
    for candidate in DATE_FORMATS:
        if parse_dates(few, candidate).notna().all() and parse_dates(texts, candidate).notna().all():
            return candidate
    return None


def plain_date(text: str) -> str:
    """A date without weekday and time, months with three letters: ``Sunday, 1st September 2020 10:30`` becomes
    ``1 Sep 2020``.
    """
    text = _TIME.sub("", _WEEKDAY.sub("", text))
    month = _MONTH.search(text)
    if month is None:
        return text
    text = _MONTH.sub(lambda match: match[1][:3].title(), text, count=1)
    return " ".join(re.sub(r"(?i)(?<=\d)(st|nd|rd|th)\b|[.,/\-]|\bof\b", " ", text).split())


def looks_like_date(text: str) -> bool:
    """Whether a text could be a date: day, month and year, month and year, or a year."""
    plain = plain_date(text)
    if plain[:3].lower() in _MONTHS or (_MONTH.search(plain) and re.search(r"\d", plain)):
        return len(plain) <= 12
    return _OF_NUMBERS.fullmatch(plain) is not None or _DATE_LIKE.fullmatch(text) is not None or is_year(text)


def is_year(text: str) -> bool:
    """Whether a text is a year from 1800 to 2199 and nothing else."""
    return _YEAR.fullmatch(text) is not None


def date_formats(texts: Sequence[str], counts: Sequence[int]) -> tuple[tuple[str, ...], NDArray[np.bool_]]:
    """The formats of texts, those of most cells first.

    Ambiguous orders of day and month are resolved for all texts alike: the order that fits more cells, else the day
    first.

    Args:
        texts: Texts.
        counts: Number of cells of each text.

    Returns:
        The formats needed, and whether each text is a date in one of them.
    """
    weights = np.asarray(counts)
    likely = np.array([looks_like_date(text) for text in texts], dtype=np.bool_)
    left = likely.copy()
    needed: dict[str, int] = {}
    candidates = list(MORE_FORMATS)
    for day, month in (("%d/%m/%Y", "%m/%d/%Y"), ("%d-%m-%Y", "%m-%d-%Y"), ("%d/%m/%y", "%m/%d/%y")):
        chosen = np.flatnonzero([is_likely and day[2] in text for text, is_likely in zip(texts, likely, strict=True)])
        both = [texts[i] for i in chosen.tolist()]
        if weights[chosen[_are_dates(both, month)]].sum() > weights[chosen[_are_dates(both, day)]].sum():
            i, j = candidates.index(day), candidates.index(month)
            candidates[i], candidates[j] = month, day
    for candidate in candidates:
        places = np.flatnonzero(left)
        if not len(places):
            break
        fits = places[_are_dates([texts[i] for i in places.tolist()], candidate)]
        if len(fits):
            needed[candidate] = int(weights[fits].sum())
            left[fits] = False
    # If a text fits two formats, the first one has more cells, and stays first.
    return tuple(sorted(needed, key=lambda pattern: -needed[pattern])), likely & ~left


def _are_dates(texts: Sequence[str], date_format: str) -> NDArray[np.bool_]:
    return ~np.isnan(read_dates(texts, (date_format,)))


def read_dates(texts: Sequence[str], formats: Sequence[str]) -> Floats:
    """Each text as years with fractions, by the first format that fits, shape ``(len(texts),)``.

    A text that no format fits is tried again after :func:`plain_date`. A year or month alone is its first day. NaN if a
    text is not a date.
    """
    values = np.full(len(texts), np.nan)
    for normalize in (str, plain_date):
        for pattern in formats:
            left = np.flatnonzero(np.isnan(values))
            if not len(left):
                return values
            values[left] = as_years(parse_dates([normalize(texts[i]) for i in left.tolist()], pattern))
    return values


def as_years(dates: "pd.Series") -> Floats:
    """Dates as years with fractions, NaN where missing."""
    if dates.dt.tz is not None:
        dates = dates.dt.tz_convert(None)
    days = (dates - pd.Timestamp(1970, 1, 1)) / pd.Timedelta(days=1)
    return np.asarray(1970 + days.to_numpy(dtype=np.float64, na_value=np.nan) / _DAYS_A_YEAR, dtype=np.float64)
