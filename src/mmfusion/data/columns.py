"""Kinds of columns, fitted on the training rows: how their cells become numbers, and what these mean in words."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfusion.data.cells import (
    BOOLEANS,
    Codes,
    Floats,
    date_format,
    decimal_mark,
    distinct,
    is_plain_number,
    key,
    numbers,
    one_column,
    split_numbers,
    years,
)
from mmfusion.spec import Wording

Kind: TypeAlias = Literal["numerical", "date", "categorical", "ordinal", "boolean"]
MOST_DECIMALS = 6
RARE = "rare"
"""The category that those of too few training cases are merged into."""
MIN_CASES = 5
"""How many training cases a category has at least that a table's schema names."""
MARGIN = 1.0
"""How far beyond the training range a number is still taken as it is, in widths of that range."""
N_STD = 10.0
"""The same where that range is one value or unknown, in standard deviations about the mean."""


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

    def __post_init__(self) -> None:
        object.__setattr__(self, "missing", tuple(text.lower() for text in self.missing))
        if self.outside not in ("missing", "clip"):
            raise ValueError(f"column {self.name!r} expects outside 'missing' or 'clip', got {self.outside!r}")
        if self.decimal not in (".", ","):
            raise ValueError(f"column {self.name!r} expects decimal '.' or ',', got {self.decimal!r}")
        if self.kind not in ("numerical", "date"):
            raise ValueError(f"column {self.name!r} of numbers expects kind 'numerical' or 'date', got {self.kind!r}")
        _ = self.wording  # a template that does not work is refused here

    @classmethod
    def fit(cls, frame: pd.DataFrame, name: str, **options: Any) -> "NumericalColumn":
        """Mean, deviation and range of the values that are there.

        Args:
            frame: The training rows.
            name: The column.
            options: Attributes that are not fitted. Left out, the decimal mark and a date's format are told from the
                cells.

        Raises:
            ValueError: If cells are not what the column holds.
        """
        column = one_column(frame, name)
        missing = tuple(text.lower() for text in options.get("missing", ()))
        if not is_plain_number(column) and not pd.api.types.is_datetime64_any_dtype(column):
            if options.get("kind") == "date":
                options.setdefault("date_format", date_format(distinct(column, missing)[1]) or "ISO8601")
            else:
                options.setdefault("decimal", decimal_mark(split_numbers(column, missing)[2]))
        empty = cls(name, **options)
        values = empty.values(frame)
        values = values[~np.isnan(values)]
        if not len(values):
            return empty
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

    def values(self, frame: pd.DataFrame) -> Floats:
        """The column's values in its own unit, shape ``(n,)``; NaN is missing."""
        if self.kind == "date":
            return years(frame, self.name, self.date_format, self.missing)
        return numbers(frame, self.name, decimal=self.decimal, missing=self.missing)

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
        return _packed(self)


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


@dataclass(frozen=True)
class CategoricalColumn:
    """A column of categories.

    Attributes:
        name: The column's name in the table.
        categories: A value's code is its place here. Values that differ in case or blanks alone are one category.
        kind: ``"categorical"``, sorted; ``"ordinal"``, in their order; ``"boolean"``: false and true.
        aliases: Other spellings, to the category that they count as.
        unit: Such as ``"mm"``; for sentences.
        template: Of its sentence; see :class:`~mmfusion.spec.Wording`. Empty: the default.
        missing: More spellings of a missing cell.
        rare: Whether the last category stands for all that are not named: those of too few training rows, whose names
            are not kept, and those that no training row had.
    """

    name: str
    categories: tuple[str, ...] = ()
    kind: Literal["categorical", "ordinal", "boolean"] = "categorical"
    aliases: Mapping[str, str] = field(default_factory=dict)
    unit: str = ""
    template: str = ""
    missing: tuple[str, ...] = ()
    rare: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "categories", tuple(self.categories))
        object.__setattr__(self, "aliases", dict(self.aliases))
        object.__setattr__(self, "missing", tuple(text.lower() for text in self.missing))
        if self.kind not in ("categorical", "ordinal", "boolean"):
            raise ValueError(
                f"column {self.name!r} of categories expects kind 'categorical', 'ordinal' or 'boolean', "
                f"got {self.kind!r}"
            )
        spelt = Counter(map(key, self.categories))
        if twice := [name for name in self.categories if spelt[key(name)] > 1]:
            raise ValueError(f"column {self.name!r} has categories that differ in case or blanks alone: {twice}")
        if self.kind == "boolean" and self.categories != ("false", "true"):
            raise ValueError(f"column {self.name!r} of booleans expects the categories false, true: {self.categories}")
        if self.rare and not self.categories:
            raise ValueError(f"column {self.name!r} expects categories, of which the last is the rare one")
        _ = self.wording

    @classmethod
    def fit(cls, frame: pd.DataFrame, name: str, *, min_cases: int = 1, **options: Any) -> "CategoricalColumn":
        """The vocabulary of the values that are there.

        Args:
            frame: The training rows.
            name: The column.
            min_cases: Categories of fewer rows are merged into one, :data:`RARE`, the last; their names are not kept.
                Booleans, and categories that are given, stay as they are.
            options: Attributes that are not fitted. ``categories`` given is kept: the order of an ordinal column.

        Raises:
            ValueError: If a cell is not in the categories given, or of booleans not one of their spellings.
        """
        if type(min_cases) is not int or min_cases < 1:
            raise ValueError(f"column {name!r} expects min_cases of 1 or more, got {min_cases!r}")
        codes, found = distinct(one_column(frame, name), [text.lower() for text in options.get("missing", ())])
        if options.get("kind") == "boolean":
            options["categories"] = ("false", "true")
        if "categories" not in options:
            aliases = {key(alias): category for alias, category in options.get("aliases", {}).items()}
            counts = np.bincount(codes[codes >= 0], minlength=len(found))
            # Of several spellings of one category, its name is the one that most rows have.
            spellings: dict[str, str] = {}
            n_cases: Counter[str] = Counter()
            for text, count in sorted(zip(found, counts.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0])):
                category = aliases.get(key(text), text)
                spellings.setdefault(key(category), category)
                n_cases[key(category)] += count
            names = sorted(category for folded, category in spellings.items() if n_cases[folded] >= min_cases)
            ordered = options.get("kind") == "ordinal"
            options["categories"] = in_order(names) if ordered else tuple(names)
            if len(names) < len(spellings):
                options["categories"] += (_free(RARE, names),)
                options["rare"] = True
        column = cls(name, **options)
        known = column._codes()
        if not column.rare and (strangers := [text for text in found if key(text) not in known]):
            raise ValueError(
                f"column {name!r} has {', '.join(map(repr, strangers[:10]))}, not one of {column.categories}: add the "
                "category, an alias, or a spelling of missing"
            )
        return column

    def _codes(self) -> dict[str, int]:
        codes = {key(category): code for code, category in enumerate(self.categories)}
        if self.kind == "boolean":
            codes |= {spelling: int(value) for spelling, value in BOOLEANS.items()}
        aliases = {}
        for alias, category in self.aliases.items():
            if key(category) in codes:  # the training rows may not have it
                aliases[key(alias)] = codes[key(category)]
        return codes | aliases

    def encode(self, frame: pd.DataFrame) -> Codes:
        """Codes, shape ``(n,)`` int64; -1 is missing, or a category that is not named where none stands for these."""
        known, other = self._codes(), len(self.categories) - 1 if self.rare else -1
        codes, found = distinct(one_column(frame, self.name), self.missing)
        return np.array([*(known.get(key(text), other) for text in found), -1], dtype=np.int64)[codes]

    def unseen(self, frame: pd.DataFrame) -> list[str]:
        """Values that are not named, in the order of their first row: they count as missing, or as the rare one."""
        known = self._codes()
        return [text for text in distinct(one_column(frame, self.name), self.missing)[1] if key(text) not in known]

    @property
    def wording(self) -> Wording:
        """What a code means."""
        said = ("no", "yes") if self.kind == "boolean" else self.categories
        return Wording(template=self.template or Wording.template, unit=self.unit, categories=said)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, the defaults left out."""
        return _packed(self)


def _free(name: str, taken: Collection[str]) -> str:
    """The name, or a longer one that none of the others is."""
    while key(name) in set(map(key, taken)):
        name = f"other {name}"
    return name


SCALES: tuple[tuple[str, ...], ...] = (
    ("none", "minimal", "mild", "moderate", "severe", "very severe"),
    ("absent", "minimal", "mild", "moderate", "severe"),
    ("very low", "low", "medium", "high", "very high"),
    ("very low", "low", "moderate", "high", "very high"),
    ("never", "rarely", "sometimes", "often", "always"),
    ("never", "former", "current"),
    ("very small", "small", "medium", "large", "very large"),
    ("negative", "weak", "moderate", "strong"),
    ("i", "ii", "iii", "iv", "v", "vi"),
    ("i", "ia", "ib", "ic", "ii", "iia", "iib", "iic", "iii", "iiia", "iiib", "iiic", "iv", "iva", "ivb", "ivc"),
    ("-", "+", "++", "+++", "++++"),
)
"""Orders that are known without being told."""


def in_order(categories: Collection[str]) -> tuple[str, ...]:
    """Categories by rank: as a known scale has them, as numbers, else by the alphabet."""
    ranked = scale_of(categories)
    return ranked if ranked is not None else tuple(sorted(categories))


def scale_of(categories: Collection[str]) -> tuple[str, ...] | None:
    """Categories in their known order; None if none is known.

    Numbers, also with one common word before them (``grade 2``, ``T1``), and the scales above are.
    """
    names = {key(category): category for category in categories}
    if len(names) < 2:
        return None
    for scale in SCALES:
        if set(names) <= set(scale):
            return tuple(names[step] for step in scale if step in names)
    split = {name: _word_and_number(name) for name in names}
    parts = [part for part in split.values() if part is not None]
    if len(parts) == len(names) and len({word for word, _ in parts}) == 1:
        return tuple(names[name] for name in sorted(names, key=lambda name: (split[name] or ("", 0.0))[1]))
    return None


def _word_and_number(text: str) -> tuple[str, float] | None:
    word = text.rstrip("0123456789.")
    digits = text[len(word) :]
    try:
        return word, float(digits)
    except ValueError:
        return None


def _packed(column: NumericalColumn | CategoricalColumn) -> dict[str, Any]:
    plain = type(column)(column.name)
    packed = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(column).items()
        if value != getattr(plain, name)
    }
    return {"name": column.name, **packed}


Column: TypeAlias = NumericalColumn | CategoricalColumn


def fit_column(frame: pd.DataFrame, name: str, kind: Kind, options: Mapping[str, Any]) -> Column:
    """A column of some kind, fitted on the training rows.

    Raises:
        ValueError: If the kind or an option is unknown, or the cells are not of the kind.
    """
    builder: type[Column] = NumericalColumn if kind in ("numerical", "date") else CategoricalColumn
    fitted = {"name", "kind", "mean", "std", "low", "high", "step", "rare"}
    more = {"min_cases"} if builder is CategoricalColumn else set()
    valid = sorted(set(builder.__dataclass_fields__) - fitted | more)
    if unknown := sorted(set(options) - set(valid)):
        raise ValueError(f"column {name!r} of kind {kind!r} has no option {unknown}; valid: {', '.join(valid)}")
    return builder.fit(frame, name, kind=kind, **options)
