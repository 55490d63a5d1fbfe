"""The columns of a table: what was fitted on the training rows, and how any row becomes numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from mmfusion.spec import Columns
from mmfusion.tokens import Table

MISSING = frozenset({"", "unknown", "unk", "na", "n/a", "nan", "<na>", "nat"})
"""Spellings of a missing cell, in lower case and without surrounding blanks."""

_BOOLEANS = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True)
class NumericalColumn:
    """A column of numbers.

    Attributes:
        name: The column's name in the table.
        mean: Mean of the training rows; 0 where none of them has a value.
        std: Population standard deviation of the training rows; 1 where it would be 0 or unknown.
    """

    name: str
    mean: float = 0.0
    std: float = 1.0

    @classmethod
    def fit(cls, frame: pd.DataFrame, name: str) -> "NumericalColumn":
        """Mean and deviation of the values that are there."""
        values = numbers(frame, name)
        values = values[~np.isnan(values)]
        if not len(values):
            return cls(name)
        # A constant column must not blow up rounding errors: its deviation may be 1e-17 instead of 0.
        std = float(values.std()) if values.min() < values.max() else 0.0
        return cls(name, float(values.mean()), std or 1.0)

    def encode(self, frame: pd.DataFrame) -> np.ndarray:
        """Standardised values, shape ``(n,)`` float64; NaN is missing."""
        return (numbers(frame, self.name) - self.mean) / self.std


@dataclass(frozen=True)
class CategoricalColumn:
    """A column of categories.

    Attributes:
        name: The column's name in the table.
        categories: The training rows' values, sorted; a value's code is its place here.
    """

    name: str
    categories: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "categories", tuple(self.categories))

    @classmethod
    def fit(cls, frame: pd.DataFrame, name: str) -> "CategoricalColumn":
        """The vocabulary of the values that are there."""
        return cls(name, tuple(sorted({value for value in texts(frame, name) if value is not None})))

    def encode(self, frame: pd.DataFrame) -> np.ndarray:
        """Codes, shape ``(n,)`` int64; -1 is missing, or a category that no training row had."""
        codes = {category: code for code, category in enumerate(self.categories)}
        return np.array([-1 if v is None else codes.get(v, -1) for v in texts(frame, self.name)], dtype=np.int64)


@dataclass(frozen=True)
class TableSchema:
    """The columns of a table modality, fitted on the training rows alone.

    Attributes:
        numerical: Columns of numbers, in order.
        categorical: Columns of categories, in order.
    """

    numerical: tuple[NumericalColumn, ...] = ()
    categorical: tuple[CategoricalColumn, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "numerical", tuple(self.numerical))
        object.__setattr__(self, "categorical", tuple(self.categorical))

    @classmethod
    def fit(
        cls, frame: pd.DataFrame, *, numerical: Sequence[str] = (), categorical: Sequence[str] = ()
    ) -> "TableSchema":
        """Learn means, deviations and vocabularies.

        Args:
            frame: The training rows.
            numerical: Names of the columns of numbers.
            categorical: Names of the columns of categories.

        Returns:
            The fitted schema.

        Raises:
            ValueError: If a column is not in the table, or a cell of a numerical column is not a finite number.
        """
        require_columns(frame, [*numerical, *categorical])
        return cls(
            tuple(NumericalColumn.fit(frame, name) for name in numerical),
            tuple(CategoricalColumn.fit(frame, name) for name in categorical),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """All column names: numerical ones, then categorical ones."""
        return (*(column.name for column in self.numerical), *(column.name for column in self.categorical))

    @property
    def columns(self) -> Columns:
        """What a model needs to know.

        A column of which no training row has a value counts one category, which never occurs.
        """
        return Columns(
            numerical=tuple(column.name for column in self.numerical),
            categorical=tuple((column.name, max(1, len(column.categories))) for column in self.categorical),
        )

    def transform(self, frame: pd.DataFrame) -> Table:
        """Any rows in the units of the training rows.

        Args:
            frame: A table with at least this schema's columns.

        Returns:
            numerical ``(n, n_num)`` float32, standardised, NaN where missing; categorical ``(n, n_cat)`` int64, -1
            where missing or never seen in training.

        Raises:
            ValueError: If a column is not in the table, or a cell of a numerical column is not a finite number.
        """
        require_columns(frame, self.names)
        n = len(frame)
        numerical = np.empty((n, len(self.numerical)), dtype=np.float32)
        for i, number in enumerate(self.numerical):
            numerical[:, i] = number.encode(frame)
        categorical = np.empty((n, len(self.categorical)), dtype=np.int64)
        for i, category in enumerate(self.categorical):
            categorical[:, i] = category.encode(frame)
        return Table(torch.from_numpy(numerical), torch.from_numpy(categorical))

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, for JSON, which keeps every bit of the floats."""
        return {
            "numerical": [{"name": c.name, "mean": c.mean, "std": c.std} for c in self.numerical],
            "categorical": [{"name": c.name, "categories": list(c.categories)} for c in self.categorical],
        }

    @classmethod
    def from_dict(cls, packed: Mapping[str, Any]) -> "TableSchema":
        """The inverse of :meth:`to_dict`."""
        return cls(
            tuple(NumericalColumn(**column) for column in packed["numerical"]),
            tuple(CategoricalColumn(**column) for column in packed["categorical"]),
        )


def require_columns(frame: pd.DataFrame, names: Sequence[str], what: str = "the table") -> None:
    """Refuse a table that lacks columns.

    Raises:
        ValueError: Naming every missing column, and those that are there.
    """
    absent = [name for name in names if name not in frame.columns]
    if absent:
        there = ", ".join(map(str, frame.columns)) or "none"
        raise ValueError(f"{what} has no column {', '.join(map(repr, absent))}; its columns are: {there}")


def texts(frame: pd.DataFrame, name: str) -> list[str | None]:
    """A column's cells as text, None where missing.

    A whole number is written without its decimal point: pandas turns a column of integers into floats as soon as one
    cell is empty, and 1 and 1.0 must stay one category.
    """
    return [_text(value) for value in frame[name].tolist()]


def _text(value: object) -> str | None:
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    return None if text.lower() in MISSING else text


def numbers(frame: pd.DataFrame, name: str) -> np.ndarray:
    """A column's cells as numbers, shape ``(n,)`` float64, NaN where missing.

    Raises:
        ValueError: If a cell is neither missing nor a finite number: which row, what is there.
    """
    values = np.full(len(frame), np.nan)
    for i, (row, text) in enumerate(zip(frame.index, texts(frame, name))):
        if text is None:
            continue
        try:
            values[i] = _BOOLEANS[text.lower()] if text.lower() in _BOOLEANS else float(text)
        except ValueError:
            values[i] = np.inf
        if np.isinf(values[i]):
            raise ValueError(
                f"column {name!r} holds numbers, but row {row} has {text!r}: correct the cell, or leave it empty "
                "if the value is not known"
            )
    return values
