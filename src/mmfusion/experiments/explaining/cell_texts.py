"""Cells as the model reads them, in words."""

import math

from mmfusion.spec import Columns
from mmfusion.tokens import Table

MISSING = "missing"


def cell_texts(columns: Columns, table: Table) -> list[str]:
    """One text per column of a table of one row: a number in its unit, or a category's name."""
    values = [*table.numerical[0].tolist(), *table.categorical[0].tolist()]
    return [_text(columns, j, value) for j, value in enumerate(values)]


def number_of(columns: Columns, j: int, value: float) -> float:
    """A numerical cell in its column's own unit."""
    return value * columns.wordings[j].std + columns.wordings[j].mean if columns.wordings else value


def category_of(columns: Columns, j: int, code: int) -> str:
    """A categorical cell's name, or its code where names are not known."""
    names = columns.wordings[j].categories if columns.wordings else ()
    return names[code] if 0 <= code < len(names) else f"category {code}"


def _text(columns: Columns, j: int, value: float) -> str:
    if j >= len(columns.numerical):
        return MISSING if value < 0 else category_of(columns, j, int(value))
    if math.isnan(value):
        return MISSING
    unit = columns.wordings[j].unit if columns.wordings else ""
    return f"{number_of(columns, j, value):.4g} {unit}".strip()
