"""Which cases are women, old, or of dark skin: the groups that a result is told for beside the whole."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from mmfusion.data.schema.cell_survey import look_at
from mmfusion.data.schema.cells import key, one_column, require_columns, texts
from mmfusion.data.schema.number_cells import numbers

UNKNOWN = "unknown"
AGES = (40.0, 60.0)
"""Years at which a new age band begins."""
MOST_VALUES = 5
"""A column of more different numbers than these is cut into thirds."""


@dataclass(frozen=True)
class Subgroup:
    """How a column of a table tells cases apart.

    Attributes:
        name: Of the property, ``"sex"``, say.
        column: Where it stands.
        values: What cells are called, where it is not what they say; capitals and blanks do not count.
        edges: For numbers: where a new band begins, ascending. Empty: the cells are names.

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
            raise ValueError(f"the bands of {self.name!r} expect edges that ascend, got {self.edges}")

    @property
    def bands(self) -> tuple[str, ...]:
        """The names of the bands, from the lowest; none without edges."""
        if not self.edges:
            return ()
        said = [f"{edge:g}" for edge in self.edges]
        inner = [f"{low} to {high}" for low, high in itertools.pairwise(said)]
        return (f"below {said[0]}", *inner, f"{said[-1]} and over")

    def of(self, frame: pd.DataFrame) -> list[str]:
        """Each case's value; ``"unknown"`` where the cell or column is missing, or no number where bands need one."""
        if self.column not in frame.columns:
            return [UNKNOWN] * len(frame)
        if self.edges:
            values = numbers(frame, self.column, strict=False)
            place = np.searchsorted(self.edges, values, side="right")
            return [UNKNOWN if missing else self.bands[i] for i, missing in zip(place, np.isnan(values))]
        found: dict[str, str] = {}
        # Of several spellings that differ in capitals or blanks, the first stands for all.
        return [
            UNKNOWN if cell is None else self.values.get(key(cell), found.setdefault(key(cell), cell))
            for cell in texts(frame, self.column)
        ]


def sex(column: str = "sex", values: Mapping[str, str] | None = None) -> Subgroup:
    """Female and male, however a column spells them."""
    usual = {name: name for name in ("female", "male")} | {"f": "female", "m": "male", UNKNOWN: UNKNOWN}
    return Subgroup("sex", column, usual | dict(values or {}))


def age(column: str = "age") -> Subgroup:
    """Below 40, 40 to 60 (exclusive), 60 and over."""
    return Subgroup("age", column, edges=AGES)


def skin_type(column: str) -> Subgroup:
    """Fitzpatrick's six, as whole numbers."""
    return Subgroup("skin type", column, {f"{i}{tail}": str(i) for i in range(1, 7) for tail in ("", ".0")})


def by_columns(names: Sequence[str], frame: pd.DataFrame, train: pd.DataFrame) -> tuple[Subgroup, ...]:
    """Columns of a table that is not known: by their values, or in thirds of the training part where they are numbers.

    Args:
        names: The columns.
        frame: All rows.
        train: Those of the training part, whose tertiles are the edges.

    Raises:
        ValueError: If a column is not there or named twice.
    """
    require_columns(frame, names)
    if len(set(names)) < len(names):
        raise ValueError(f"subgroups expect each column once, got {list(names)}")
    return tuple(Subgroup(name, name, edges=_thirds(frame, train, name)) for name in names)


def _thirds(frame: pd.DataFrame, train: pd.DataFrame, name: str) -> tuple[float, ...]:
    values = look_at(one_column(frame, name), {}).values
    if values is None or len(values) <= MOST_VALUES:
        return ()
    there = numbers(train, name, strict=False)
    edges = np.quantile(there[~np.isnan(there)], [1 / 3, 2 / 3]) if not np.isnan(there).all() else np.empty(0)
    # As they will be said: a value lies in the band whose name says so.
    return tuple(sorted({float(f"{edge:g}") for edge in edges}))
