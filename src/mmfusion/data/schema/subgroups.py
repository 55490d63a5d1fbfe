"""Subgroups of cases by sex, age, skin type or any column, for results per subgroup."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from mmfusion.data.schema.cell_survey import survey_cells
from mmfusion.data.schema.cells import key, one_column, require_columns, texts
from mmfusion.data.schema.number_cells import numbers

UNKNOWN = "unknown"
AGES = (40.0, 60.0)
"""Lower edges of the age bands after the first, in years."""
MOST_VALUES = 5
"""A column with more distinct numbers is divided into thirds."""


@dataclass(frozen=True)
class Subgroup:
    """Subgroups of cases by a column of the table.

    Attributes:
        name: Name of the property, such as ``"sex"``.
        column: The table's column.
        values: Names of cells that are renamed; case and blanks are ignored.
        edges: For numbers, lower edges of the bands after the first, ascending. Empty: cells are names.

    Raises:
        ValueError: If the edges do not ascend.
    """

    name: str
    column: str
    values: Mapping[str, str] = field(default_factory=dict)
    edges: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", {key(cell): value for cell, value in self.values.items()})
        object.__setattr__(self, "edges", tuple(float(edge) for edge in self.edges))
        if list(self.edges) != sorted(set(self.edges)):
            raise ValueError(f"the bands of {self.name!r} expect ascending edges, got {self.edges}")

    @property
    def bands(self) -> tuple[str, ...]:
        """The names of the bands, from the lowest; none without edges."""
        if not self.edges:
            return ()
        labels = [f"{edge:g}" for edge in self.edges]
        inner = [f"{low} to {high}" for low, high in itertools.pairwise(labels)]
        return (f"below {labels[0]}", *inner, f"{labels[-1]} and over")

    def of(self, frame: pd.DataFrame) -> list[str]:
        """Each case's subgroup; ``"unknown"`` if the cell or column is missing, or a band needs a number."""
        if self.column not in frame.columns:
            return [UNKNOWN] * len(frame)
        if self.edges:
            values = numbers(frame, self.column, strict=False)
            place = np.searchsorted(self.edges, values, side="right")
            return [UNKNOWN if missing else self.bands[i] for i, missing in zip(place, np.isnan(values))]
        first_spellings: dict[str, str] = {}
        # Spellings that differ only in case or blanks are named by the first.
        return [
            UNKNOWN if cell is None else self.values.get(key(cell), first_spellings.setdefault(key(cell), cell))
            for cell in texts(frame, self.column)
        ]


def in_order(value: str) -> tuple[int, str]:
    """Sorting key of a subgroup's values: the lowest band first, the unknown last."""
    return (0 if value.startswith("below") else 2 if value == UNKNOWN else 1), value


def sex(column: str = "sex", values: Mapping[str, str] | None = None) -> Subgroup:
    """Female and male, in common spellings."""
    usual = {name: name for name in ("female", "male")} | {"f": "female", "m": "male", UNKNOWN: UNKNOWN}
    return Subgroup("sex", column, usual | dict(values or {}))


def age(column: str = "age") -> Subgroup:
    """Below 40, 40 to 60 (exclusive), 60 and over."""
    return Subgroup("age", column, edges=AGES)


def skin_type(column: str) -> Subgroup:
    """The six Fitzpatrick skin types, as whole numbers."""
    return Subgroup("skin type", column, {f"{i}{tail}": str(i) for i in range(1, 7) for tail in ("", ".0")})


def by_columns(names: Sequence[str], frame: pd.DataFrame, train: pd.DataFrame) -> tuple[Subgroup, ...]:
    """Subgroups by any columns: by value, or for numbers by tertiles of the training set.

    Args:
        names: The columns.
        frame: All rows.
        train: Rows of the training set, whose tertiles are the edges.

    Raises:
        ValueError: If a column is not in the table or occurs twice.
    """
    require_columns(frame, names)
    if len(set(names)) < len(names):
        raise ValueError(f"subgroups expect each column once, got {list(names)}")
    return tuple(Subgroup(name, name, edges=_thirds(frame, train, name)) for name in names)


def _thirds(frame: pd.DataFrame, train: pd.DataFrame, name: str) -> tuple[float, ...]:
    values = survey_cells(one_column(frame, name), {}).values
    if values is None or len(values) <= MOST_VALUES:
        return ()
    train_values = numbers(train, name, strict=False)
    edges = (
        np.quantile(train_values[~np.isnan(train_values)], [1 / 3, 2 / 3])
        if not np.isnan(train_values).all()
        else np.empty(0)
    )
    # Rounded as in the bands' names, so that names and values agree.
    return tuple(sorted({float(f"{edge:g}") for edge in edges}))
