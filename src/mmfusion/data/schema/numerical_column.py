"""Columns of numbers and dates, fitted on the training rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfusion.data.schema.categorical_column import packed
from mmfusion.data.schema.cells import Floats, distinct, is_plain_number, one_column, refuse_cells
from mmfusion.data.schema.dates import date_format, date_formats
from mmfusion.data.schema.number_cells import Reading, Remark, notation_of, read_column, read_date_column, remarks_of
from mmfusion.data.schema.numerals import Bounds, Notation, unit_key
from mmfusion.data.schema.usual_values import usual, usual_years
from mmfusion.option_checks import check_fields
from mmfusion.spec import Wording

MOST_DECIMALS = 6
MARGIN = 1.0
"""How far a number may be outside the training range, in widths of that range."""
N_STD = 10.0
"""Likewise if the range is a single value or unknown, in standard deviations from the mean."""
FITTED = frozenset({"name", "mean", "std", "low", "high", "step"})
"""Attributes that are fitted on the training rows."""


@dataclass(frozen=True)
class NumericalColumn:
    """A column of numbers or dates.

    Attributes:
        name: The column's name in the table.
        mean: Mean of the training rows; 0 if none of them has a value.
        std: Population standard deviation of the training rows; 1 if it would be 0 or unknown.
        low: Smallest value of the training rows; for dates its year.
        high: Largest value of the training rows; for dates the year after it.
        step: Power of ten, such as 1 or 0.01, of which all values are multiples; 0 if it would be too small.
        kind: ``"numerical"``; or ``"date"``, with values in years with fractions.
        unit: Such as ``"mm"``.
        template: Template of its sentence; see :class:`~mmfusion.spec.Wording`. Empty: the default.
        decimal: Decimal mark in texts, a point or a comma.
        date_format: Format of dates in texts, as in pandas.
        missing: Further spellings of a missing cell.
        outside: What a number beyond :attr:`limits` becomes: ``"missing"``, or ``"clip"``, the nearer limit.
        thousands: ``"."`` if, with decimal commas, a text such as ``1.234`` is a thousand.
        suffix: Unit that may follow the number in texts, such as ``"mg"`` or ``"%"``, like :attr:`unit`.
        percent: Whether a number of at most 1 without a percent sign counts as missing, since it could be a share.
        more_formats: Formats of dates that are tried if :attr:`date_format` does not fit.
        censored: What a bound such as ``<0.5`` or ``>100`` becomes: ``"bound"``, its number; ``"flag"``, its number,
            with an additional column of categories that marks bounds; or ``"missing"``.
        invalid: What a cell of another kind is: ``"error"`` or ``"missing"``.
        column: The table's column; empty: the same as the name.
        part: 1 or 2 for cells such as ``120/80``; 0: cells are single numbers.
    """

    name: str
    mean: float = 0.0
    std: float = 1.0
    low: float = 0.0
    high: float = 0.0
    step: float = 0.0
    kind: Literal["numerical", "date"] = "numerical"
    unit: str = ""
    template: str = ""
    decimal: Literal[".", ","] = "."
    date_format: str = "ISO8601"
    missing: tuple[str, ...] = ()
    outside: Literal["missing", "clip"] = "missing"
    thousands: Literal["", "."] = ""
    suffix: str = ""
    percent: bool = False
    more_formats: tuple[str, ...] = ()
    censored: Literal["bound", "flag", "missing"] = "bound"
    invalid: Literal["error", "missing"] = "error"
    column: str = ""
    part: Literal[0, 1, 2] = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "missing", tuple(text.lower() for text in self.missing))
        check_fields(self, f"column {self.name!r}")
        _ = self.wording  # raises an error for an invalid template

    @classmethod
    def fit(
        cls, frame: pd.DataFrame, name: str, *, train: Sequence[int] | None = None, **options: Any
    ) -> "NumericalColumn":
        """Fit mean, deviation and range, without gross outliers.

        One number such as 1e12 among ages would make all others equal; see
        :func:`~mmfusion.data.schema.usual_values.usual`. Such a number is beyond :attr:`limits`, as it is in new rows.

        Args:
            frame: All rows; they determine the notation of numbers and dates.
            name: The table's column. With ``part`` the fitted column's name ends with it: ``bp_1``, ``bp_2``.
            train: Positions of the training rows, whose statistics are fitted; None: all.
            options: Attributes that are not fitted. The notation is inferred from the cells if it is not given.

        Raises:
            ValueError: If cells are not of the column's kind.
        """
        if options.get("part"):
            options["column"] = name
            name = f"{name}_{options['part']}"
        empty = cls(name, **{**_written(one_column(frame, options.get("column") or name), options), **options})
        options = {key: getattr(empty, key) for key in cls.__dataclass_fields__ if key not in FITTED}
        values = empty.values(frame)
        if train is not None:
            values = values[np.asarray(train, dtype=np.int64)]
        values = values[~np.isnan(values)]
        if not len(values):
            return empty
        values = values[usual(values) if empty.kind == "numerical" else usual_years(values)]
        low, high = float(values.min()), float(values.max())
        if empty.kind == "date":
            # The ends are dates of single patients, so only years are kept.
            low, high = float(np.floor(low)), float(np.ceil(high))
        # A constant column must not amplify rounding errors: its deviation may be 1e-17 instead of 0.
        mean, std = _moments(values) if low < high else (float(values.mean()), 0.0)
        fitted = {
            "mean": mean,
            "std": std if std > 0 else 1.0,
            "low": low,
            "high": high,
            "step": _step(values) if empty.kind == "numerical" else 0.0,
        }
        return cls(name, **{**options, **fitted})

    @property
    def source(self) -> str:
        """The table's column."""
        return self.column or self.name

    @property
    def notation(self) -> Notation:
        """Notation of numbers in texts."""
        return Notation(self.decimal, self.thousands, self.suffix, self.percent)

    @property
    def units(self) -> list[str]:
        """Further units that may follow a number."""
        return [self.unit] if self.unit else []

    @property
    def words(self) -> bool | None:
        """Whether ``true`` is 1: not in a column that was fitted on other numbers than 0 and 1; None: unknown."""
        return None if self.low == self.high else self.low >= 0 and self.high <= 1

    def read(self, frame: pd.DataFrame) -> Reading:
        """Read all cells; invalid ones are no error."""
        column = one_column(frame, self.source)
        if self.kind == "date":
            return read_date_column(column, (self.date_format, *self.more_formats), self.missing)
        return read_column(column, self.notation, self.missing, units=self.units, part=self.part, words=self.words)

    def values(self, frame: pd.DataFrame) -> Floats:
        """The column's values in its unit, shape ``(n,)``; NaN is missing.

        Raises:
            ValueError: If cells are not of the column's kind and :attr:`invalid` is ``"error"``.
        """
        reading = self.read(frame)
        if self.invalid == "error":
            refuse_cells(one_column(frame, self.source), self.source, reading.invalid, self.expected(2))
        if self.censored == "missing":
            reading.values[reading.bounds != 0] = np.nan
        return reading.values

    @property
    def limits(self) -> tuple[float, float]:
        """Range of accepted values: the training range, extended by :data:`MARGIN` of its widths on both sides.

        If that range is a single value or unknown, :data:`N_STD` standard deviations about the mean.
        """
        if self.low < self.high:
            width = MARGIN * (self.high - self.low)
            return self.low - width, self.high + width
        return self.mean - N_STD * self.std, self.mean + N_STD * self.std

    def is_outside(self, frame: pd.DataFrame) -> NDArray[np.bool_]:
        """Whether each value is beyond :attr:`limits`, shape ``(n,)``."""
        low, high = self.limits
        values = self.values(frame)
        return (values < low) | (values > high)

    def encode(self, frame: pd.DataFrame) -> Floats:
        """Standardized values, shape ``(n,)``; NaN is missing. For those beyond :attr:`limits` see :attr:`outside`."""
        low, high = self.limits
        values = self.values(frame)
        if self.outside == "clip":
            values = np.clip(values, low, high)
        else:
            values = np.where((values < low) | (values > high), np.nan, values)
        return (values - self.mean) / self.std

    def bounds(self, frame: pd.DataFrame) -> Bounds:
        """Bounds among the values, shape ``(n,)`` int8; see :class:`~mmfusion.data.schema.number_cells.Reading`."""
        return self.read(frame).bounds

    def remarks(self, frame: pd.DataFrame) -> list[Remark]:
        """Remarks on a table's cells: those that count as missing though not empty, and bounds."""
        becomes = {"bound": "the number", "flag": "the number, with a flag", "missing": "missing"}[self.censored]
        return remarks_of(self.source, one_column(frame, self.source), self.read(frame), self.expected(1), becomes)

    def expected(self, n: int) -> str:
        """What a cell holds, or what ``n`` of them hold, for messages."""
        plural = "s" if n > 1 else ""
        if self.kind == "date":
            return f"date{plural} as in {' or '.join((self.date_format, *self.more_formats))}"
        return f"ratio{plural}" if self.part else f"number{plural}{' in ' + self.suffix if self.suffix else ''}"

    @property
    def wording(self) -> Wording:
        """The meaning of the values."""
        return Wording(
            template=self.template or Wording.template,
            unit=self.unit,
            mean=self.mean,
            std=self.std,
            low=self.low,
            high=self.high,
            step=self.step,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without defaults."""
        return packed(self)


def _moments(values: Floats) -> tuple[float, float]:
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = float(values.mean()), float(values.std())
    if np.isfinite(mean) and np.isfinite(std):
        return mean, std
    # Sums and squares of very large numbers overflow; those of their ratios to the largest do not.
    largest = float(np.abs(values).max())
    return float((values / largest).mean()) * largest, float((values / largest).std()) * largest


def _step(values: Floats) -> float:
    """The largest power of ten, at most 1, of which all values are multiples; 0 if it has too many decimals."""
    for decimals in range(MOST_DECIMALS + 1):
        scaled = values * 10.0**decimals
        if np.all(np.abs(scaled - np.round(scaled)) <= 1e-9 * np.maximum(1.0, np.abs(scaled))):
            return float(10.0**-decimals)
    return 0.0


def _written(column: "pd.Series", options: Mapping[str, Any]) -> dict[str, Any]:
    """The notation of a column's cells, where the options do not give it."""
    missing = tuple(text.lower() for text in options.get("missing", ()))
    if options.get("kind") == "date":
        if pd.api.types.is_datetime64_any_dtype(column) or "date_format" in options:
            return {}
        codes, texts = distinct(column, missing)
        single = date_format(texts)
        formats = (
            (single,)
            if single
            else date_formats(texts, np.bincount(codes[codes >= 0], minlength=len(texts)).tolist())[0]
        )
        return {"date_format": formats[0], "more_formats": formats[1:]} if formats else {}
    if is_plain_number(column) or set(options) >= {"decimal", "thousands", "suffix", "percent"}:
        return {}
    notation = notation_of(column, missing)
    written: dict[str, Any] = {
        "decimal": notation.decimal,
        "thousands": notation.thousands if options.get("decimal", ",") == "," else "",
    }
    unit = str(options.get("unit", ""))
    if notation.suffix and (not unit or unit_key(unit) == unit_key(notation.suffix)):
        written |= {"suffix": notation.suffix, "percent": notation.percent, "unit": unit or notation.suffix}
    return written
