"""Values far outside the training range: detection and notes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmfusion.data.schema.columns import NumericalColumn
from mmfusion.data.schema.table_schema import TableSchema

_SHOWN = 10


@dataclass(frozen=True)
class Outside:
    """The values of one column that are beyond its :attr:`~mmfusion.data.schema.columns.NumericalColumn.limits`.

    Attributes:
        column: The fitted column.
        positions: Positions of the rows, in the table's order.
        rows: Labels of the rows.
        values: Their values, in the column's unit.
    """

    column: NumericalColumn
    positions: tuple[int, ...]
    rows: tuple[object, ...]
    values: tuple[float, ...]

    def __str__(self) -> str:
        """A sentence with the values."""
        shown = [f"{value:g} in row {row}" for row, value in zip(self.rows[:_SHOWN], self.values, strict=False)]
        return f"{self._what('')}: {_listed(shown, len(self.rows))}"

    def without_values(self, where: str) -> str:
        """The sentence without values, for results that others may read.

        Args:
            where: Follows the number of values, such as ``" of the test set"``.
        """
        return f"{self._what(where)}: {_listed([f'row {row}' for row in self.rows[:_SHOWN]], len(self.rows))}."

    def _what(self, where: str) -> str:
        column, n = self.column, len(self.rows)
        fate = "missing" if column.outside == "missing" else "the nearer limit, {:g} or {:g}".format(*column.limits)
        return (
            f"column {column.name!r}: {n} value{'s' * (n != 1)}{where} far outside the training range of "
            f"{column.low:g} to {column.high:g} count{'s' * (n == 1)} as {fate}"
        )


def find_outside(schema: TableSchema | None, frame: pd.DataFrame) -> list[Outside]:
    """Find values far outside the training range, by column.

    Args:
        schema: The fitted columns; those that the table lacks are skipped.
        frame: Any rows.

    Raises:
        ValueError: If cells are not of their column's kind.
    """
    results = []
    for column in () if schema is None else schema.numerical:
        if column.source not in frame.columns:
            continue
        rows = np.flatnonzero(column.is_outside(frame))
        if len(rows):
            values = column.values(frame)[rows]
            results.append(Outside(column, tuple(rows.tolist()), tuple(frame.index[rows]), tuple(values.tolist())))
    return results


def outside_notes(schema: TableSchema | None, sets: Mapping[str, pd.DataFrame]) -> tuple[str, ...]:
    """One note per column and set with values far outside the training range, without the values.

    Args:
        schema: The fitted columns.
        sets: Rows by the name of the set, such as ``test``.
    """
    notes = (
        outside.without_values(f" of the {name} set")
        for name, frame in sets.items()
        for outside in find_outside(schema, frame)
    )
    return tuple(note[0].upper() + note[1:] for note in notes)


def outside_columns(outside: Iterable[Outside], n: int) -> list[tuple[str, ...]]:
    """For each row, the columns with values far outside the training range.

    Args:
        outside: Results of :func:`find_outside`.
        n: Number of rows of the table.
    """
    names: list[list[str]] = [[] for _ in range(n)]
    for column_values in outside:
        for position in column_values.positions:
            names[position].append(column_values.column.name)
    return [tuple(row) for row in names]


def _listed(shown: Sequence[str], n: int) -> str:
    return ", ".join(shown) + (f" and {n - len(shown)} more" if n > len(shown) else "")
