"""Reading of spreadsheets (.xlsx): one sheet, a header, one row per case."""

import datetime
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from mmfusion.utils.optional import need

_MOST_BYTES = 2**30
"""Limit of the decompressed content: a file of some kilobytes can claim gigabytes."""
_SHOWN = 10


def read_spreadsheet(path: Path, sheet: str | None = None) -> pd.DataFrame:
    """Read a sheet. Numbers, dates and booleans keep their types; empty rows and columns at the end are left out.

    Args:
        path: The file.
        sheet: Name of the sheet; None: the only one that has cells.

    Returns:
        The table, without an index; errors of formulas are texts such as ``#DIV/0!``.

    Raises:
        ValueError: If the file is no spreadsheet or too large, the sheet is unknown or not the only one, cells are
            merged, a formula has no stored value, or a column has no name.
    """
    with _opened(path, data_only=True) as values, _opened(path, data_only=False) as formulas:
        name = _sheet(path, values, sheet)
        _refuse_formulas(path, values[name], formulas[name])
        rows = [row for row in values[name].values if any(_is_filled(cell) for cell in row)]
    _refuse_merged(path, name)
    width = max(i + 1 for row in rows for i, cell in enumerate(row) if _is_filled(cell))
    rows = [(*row, *(None,) * (width - len(row))) for row in rows]
    names = ["" if cell is None else str(cell).strip() for cell in rows[0][:width]]
    if unnamed := [need("openpyxl.utils", "xlsx").get_column_letter(i + 1) for i, text in enumerate(names) if not text]:
        raise ValueError(f"{path}, sheet {name!r}: no name in the first row for column(s) {_listed(unnamed)}: add it")
    columns = [pd.Series([_cell(row[i]) for row in rows[1:]], dtype=object) for i in range(width)]
    frame = pd.DataFrame({i: _typed(column) for i, column in enumerate(columns)})
    frame.columns = pd.Index(names)
    return frame


@contextmanager
def _opened(path: Path, *, data_only: bool = True, read_only: bool = True) -> Iterator[Any]:
    """A workbook, read row by row: else one formatted cell at the end of a sheet would make a cell of each before."""
    openpyxl = need("openpyxl", "xlsx")
    try:
        with zipfile.ZipFile(path) as content:
            if (size := sum(entry.file_size for entry in content.infolist())) > _MOST_BYTES:
                raise ValueError(f"{path} has {size / 1e9:.3g} GB of content, the limit is {_MOST_BYTES / 1e9:.3g} GB")
        with closing(openpyxl.load_workbook(path, data_only=data_only, read_only=read_only)) as book:
            if read_only:
                for each in book.worksheets:
                    each.reset_dimensions()  # what a program wrote there may be wrong
            yield book
    except ValueError:
        raise
    # openpyxl raises many kinds of errors for damaged files.
    except Exception as error:
        raise ValueError(f"{path} cannot be read as a spreadsheet (.xlsx): {error or type(error).__name__}") from error


def _sheet(path: Path, book: Any, sheet: str | None) -> str:
    """The name of the sheet to read."""
    filled = [each.title for each in book.worksheets if any(_is_filled(c) for row in each.values for c in row)]
    if sheet is not None:
        if sheet not in filled:
            raise ValueError(f"{path} has no sheet {sheet!r} with cells; its sheets are: {', '.join(filled) or 'none'}")
        return sheet
    if not filled:
        raise ValueError(f"{path} is empty: expected a header with the names of the columns and one row per case")
    if len(filled) > 1:
        raise ValueError(f"{path} has {len(filled)} sheets: {', '.join(filled)}: choose one, as in sheet={filled[0]!r}")
    name: str = filled[0]
    return name


def _refuse_formulas(path: Path, values: Any, formulas: Any) -> None:
    """Raise an error for formulas whose value was never computed: they would be empty cells."""
    unknown = [
        formula.coordinate
        for row, of_formulas in zip(values.rows, formulas.rows, strict=True)
        for cell, formula in zip(row, of_formulas, strict=True)
        if formula.data_type == "f" and cell.value is None
    ]
    if unknown:
        raise ValueError(
            f"{path}, sheet {values.title!r}: formulas have no stored value in {_listed(unknown)}: open the file in a "
            "spreadsheet program and save it"
        )


def _refuse_merged(path: Path, name: str) -> None:
    with _opened(path, read_only=False) as book:
        merged = [str(cells) for cells in book[name].merged_cells.ranges]
    if merged:
        raise ValueError(
            f"{path}, sheet {name!r}: cells are merged, {_listed(merged)}: separate them, and fill each one"
        )


def _is_filled(cell: object) -> bool:
    return cell is not None and (not isinstance(cell, str) or bool(cell.strip()))


def _cell(cell: object) -> object:
    if isinstance(cell, datetime.time | datetime.timedelta):
        return str(cell)
    return cell


def _typed(column: "pd.Series") -> "pd.Series":
    """A column of one type in that type; dates among others as texts."""
    kinds = {type(cell) for cell in column if cell is not None}
    if kinds and kinds <= {datetime.datetime, datetime.date}:
        return pd.to_datetime(column)
    if kinds & {datetime.datetime, datetime.date}:
        return pd.Series([_date_text(cell) for cell in column], dtype=object)
    return column.infer_objects()


def _date_text(cell: object) -> object:
    if isinstance(cell, datetime.datetime):
        return cell.date().isoformat() if cell.time() == datetime.time() else cell.isoformat(" ")
    return cell.isoformat() if isinstance(cell, datetime.date) else cell


def _listed(items: list[str]) -> str:
    return ", ".join(items[:_SHOWN]) + (f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else "")
