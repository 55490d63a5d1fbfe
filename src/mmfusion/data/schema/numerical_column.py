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
from mmfusion.spec import Wording

MOST_DECIMALS = 6
MARGIN = 1.0
"""How far beyond the training range a number is still taken as it is, in widths of that range."""
N_STD = 10.0
"""The same where that range is one value or unknown, in standard deviations about the mean."""
FITTED = frozenset({"name", "mean", "std", "low", "high", "step"})
"""The attributes that are learnt from training rows."""


@dataclass(frozen=True)
class NumericalColumn:
    """A column of numbers or dates.

    Attributes:
        name: The column's name in the table.
        mean: Mean of the training rows; 0 where none of them has a value.
        std: Population standard deviation of the training rows; 1 where it would be 0 or unknown.
        low: Smallest value of the training rows; of dates the year that it is in.
        high: Largest value of the training rows; of dates the year after it.
        step: What their values are multiples of, a power of ten such as 1 or 0.01; 0 where there is none that small.
        kind: ``"numerical"``; or ``"date"``, whose values are years with their fractions.
        unit: Such as ``"mm"``.
        template: Of its sentence; see :class:`~mmfusion.spec.Wording`. Empty: the default.
        decimal: What separates fractions in texts, a point or a comma.
        date_format: Of a date's texts, as pandas writes it.
        missing: More spellings of a missing cell.
        outside: What a number beyond :attr:`limits` becomes: ``"missing"``, or ``"clip"``, the nearer limit.
        thousands: ``"."`` where a text such as ``1.234`` is a thousand, beside decimal commas.
        suffix: The unit that texts may have after the number, such as ``"mg"`` or ``"%"``; so may :attr:`unit`.
        percent: Whether a number of at most 1 without its percent sign counts as missing, since it could be a share.
        more_formats: Formats of dates that are tried where :attr:`date_format` does not fit.
        censored: What a bound such as ``<0.5`` or ``>100`` is: ``"bound"``, the number; ``"flag"``, the number, and a
            column of categories beside it says which are bounds; or ``"missing"``.
        invalid: What a cell is that holds something else: ``"error"`` or ``"missing"``.
        column: The table's column; empty: that of the name.
        part: Of cells such as ``120/80``, 1 or 2; 0: cells are one number each.
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
    decimal: str = "."
    date_format: str = "ISO8601"
    missing: tuple[str, ...] = ()
    outside: Literal["missing", "clip"] = "missing"
    thousands: str = ""
    suffix: str = ""
    percent: bool = False
    more_formats: tuple[str, ...] = ()
    censored: Literal["bound", "flag", "missing"] = "bound"
    invalid: Literal["error", "missing"] = "error"
    column: str = ""
    part: Literal[0, 1, 2] = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "missing", tuple(text.lower() for text in self.missing))
        object.__setattr__(self, "more_formats", tuple(self.more_formats))
        for name, valid in (
            ("outside", ("missing", "clip")),
            ("thousands", ("", ".")),
            ("censored", ("bound", "flag", "missing")),
            ("invalid", ("error", "missing")),
            ("part", (0, 1, 2)),
        ):
            if getattr(self, name) not in valid:
                listed = " or ".join(map(repr, valid))
                raise ValueError(f"column {self.name!r} expects {name} {listed}, got {getattr(self, name)!r}")
        if self.decimal not in (".", ","):
            raise ValueError(f"column {self.name!r} expects decimal '.' or ',', got {self.decimal!r}")
        if self.kind not in ("numerical", "date"):
            raise ValueError(f"column {self.name!r} of numbers expects kind 'numerical' or 'date', got {self.kind!r}")
        _ = self.wording  # a template that does not work is refused here

    @classmethod
    def fit(
        cls, frame: pd.DataFrame, name: str, *, train: Sequence[int] | None = None, **options: Any
    ) -> "NumericalColumn":
        """Mean, deviation and range of the values that are there, but for a few that cannot be of the column's kind.

        One number such as 1e12 among ages would hide all others; see
        :func:`~mmfusion.data.schema.usual_values.usual`. It is beyond :attr:`limits` then, as it would be in new rows.

        Args:
            frame: Rows, all of which say how numbers and dates are written.
            name: The table's column. With ``part`` the name has it at its end: ``bp_1``, ``bp_2``.
            train: Positions of the training rows, which the statistics are of; None: all.
            options: Attributes that are not fitted. Left out, how cells are written is told from them.

        Raises:
            ValueError: If cells are not what the column holds.
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
            # The ends are the dates of single patients; their years will do.
            low, high = float(np.floor(low)), float(np.ceil(high))
        # A constant column must not blow up rounding errors: its deviation may be 1e-17 instead of 0.
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
        """How texts write its numbers."""
        return Notation(self.decimal, self.thousands, self.suffix, self.percent)

    def read(self, frame: pd.DataFrame) -> Reading:
        """What each cell is; nothing is an error."""
        column = one_column(frame, self.source)
        if self.kind == "date":
            return read_date_column(column, (self.date_format, *self.more_formats), self.missing)
        units = [self.unit] if self.unit else []
        # Of a column that was fitted on other numbers than 0 and 1, "true" is none.
        words = None if self.low == self.high else self.low >= 0 and self.high <= 1
        return read_column(column, self.notation, self.missing, units=units, part=self.part, words=words)

    def values(self, frame: pd.DataFrame) -> Floats:
        """The column's values in its own unit, shape ``(n,)``; NaN is missing.

        Raises:
            ValueError: If cells are not what the column holds and :attr:`invalid` is ``"error"``.
        """
        reading = self.read(frame)
        if self.invalid == "error":
            refuse_cells(one_column(frame, self.source), self.source, reading.invalid, self._holds(2))
        if self.censored == "missing":
            reading.values[reading.bounds != 0] = np.nan
        return reading.values

    @property
    def limits(self) -> tuple[float, float]:
        """Between which values are taken as they are: :data:`MARGIN` widths of the training range beyond its ends.

        Where that range is one value or unknown, :data:`N_STD` standard deviations about the mean.
        """
        if self.low < self.high:
            width = MARGIN * (self.high - self.low)
            return self.low - width, self.high + width
        return self.mean - N_STD * self.std, self.mean + N_STD * self.std

    def is_outside(self, frame: pd.DataFrame) -> NDArray[np.bool_]:
        """Which values are beyond :attr:`limits`, shape ``(n,)``."""
        low, high = self.limits
        values = self.values(frame)
        return (values < low) | (values > high)

    def encode(self, frame: pd.DataFrame) -> Floats:
        """Standardised values, shape ``(n,)``; NaN is missing. Those beyond :attr:`limits` as :attr:`outside` says."""
        low, high = self.limits
        values = self.values(frame)
        if self.outside == "clip":
            values = np.clip(values, low, high)
        else:
            values = np.where((values < low) | (values > high), np.nan, values)
        return (values - self.mean) / self.std

    def bounds(self, frame: pd.DataFrame) -> Bounds:
        """Which values are bounds, shape ``(n,)`` int8; see :class:`~mmfusion.data.schema.number_cells.Reading`."""
        return self.read(frame).bounds

    def remarks(self, frame: pd.DataFrame) -> list[Remark]:
        """What a reader should know of a table's cells: those that count as missing though not empty, and bounds."""
        becomes = {"bound": "the number", "flag": "the number, with a flag", "missing": "missing"}[self.censored]
        return remarks_of(self.source, one_column(frame, self.source), self.read(frame), self._holds(1), becomes)

    def _holds(self, n: int) -> str:
        plural = "s" if n > 1 else ""
        if self.kind == "date":
            return f"date{plural} as in {' or '.join((self.date_format, *self.more_formats))}"
        return f"ratio{plural}" if self.part else f"number{plural}{' in ' + self.suffix if self.suffix else ''}"

    @property
    def wording(self) -> Wording:
        """What a cell means."""
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
        """Plain values, the defaults left out."""
        return packed(self)


def _moments(values: Floats) -> tuple[float, float]:
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = float(values.mean()), float(values.std())
    if np.isfinite(mean) and np.isfinite(std):
        return mean, std
    # Sums and squares of very large numbers overflow, those of their shares do not.
    largest = float(np.abs(values).max())
    return float((values / largest).mean()) * largest, float((values / largest).std()) * largest


def _step(values: Floats) -> float:
    """The largest power of ten, 1 at most, that all values are multiples of; 0 if more decimals would be needed."""
    for decimals in range(MOST_DECIMALS + 1):
        scaled = values * 10.0**decimals
        if np.all(np.abs(scaled - np.round(scaled)) <= 1e-9 * np.maximum(1.0, np.abs(scaled))):
            return float(10.0**-decimals)
    return 0.0


def _written(column: "pd.Series", options: Mapping[str, Any]) -> dict[str, Any]:
    """How a column's cells are written, of which the options say nothing else."""
    missing = tuple(text.lower() for text in options.get("missing", ()))
    if options.get("kind") == "date":
        if pd.api.types.is_datetime64_any_dtype(column) or "date_format" in options:
            return {}
        codes, found = distinct(column, missing)
        one = date_format(found)
        formats = (
            (one,) if one else date_formats(found, np.bincount(codes[codes >= 0], minlength=len(found)).tolist())[0]
        )
        return {"date_format": formats[0], "more_formats": formats[1:]} if formats else {}
    if is_plain_number(column) or set(options) >= {"decimal", "thousands", "suffix", "percent"}:
        return {}
    told = notation_of(column, missing)
    written: dict[str, Any] = {
        "decimal": told.decimal,
        "thousands": told.thousands if options.get("decimal", ",") == "," else "",
    }
    unit = str(options.get("unit", ""))
    if told.suffix and (not unit or unit_key(unit) == unit_key(told.suffix)):
        written |= {"suffix": told.suffix, "percent": told.percent, "unit": unit or told.suffix}
    return written
