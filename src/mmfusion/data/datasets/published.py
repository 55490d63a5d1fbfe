"""Steps that datasets in a published layout share: root, table, faults and notes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd

from mmfusion.data.datasets.faults import Faults, refuse
from mmfusion.data.datasets.plan import Plan
from mmfusion.data.images.listing import Listing
from mmfusion.data.images.sources import Missing, find_images
from mmfusion.data.reader import CaseReader
from mmfusion.data.schema.cells import require_columns, texts
from mmfusion.data.schema.table_file import read_table
from mmfusion.data.schema.table_schema import TableSchema
from mmfusion.data.splits import Split, make_split


def root_folder(name: str, root: Path | str | None, content: str) -> Path:
    """The root, checked.

    Args:
        name: The dataset.
        root: The given root.
        content: Its expected content, in words.

    Raises:
        ValueError: If no root is given.
        FileNotFoundError: If it does not exist, or is empty.
    """
    if root is None:
        raise ValueError(f"{name} needs the folder with {content}: give root=FOLDER")
    folder = Path(root)
    if not folder.is_dir():
        raise FileNotFoundError(f"the root {folder} does not exist, or is not a folder")
    if not any(folder.iterdir()):
        raise FileNotFoundError(f"the root {folder} is empty, expected {content}")
    return folder


def root_lacks(folder: Path, what: str) -> NoReturn:
    """Raise an error for a root that lacks files, with its content."""
    content = ", ".join(sorted(path.name for path in folder.iterdir())[:8])
    raise FileNotFoundError(f"the root {folder} has no {what}; it has: {content}")


def published_table(
    name: str, root: Path | str | None, file: str, columns: Sequence[str], images: str
) -> tuple[Path, pd.DataFrame]:
    """The root and its table.

    Args:
        name: The dataset.
        root: The given root.
        file: The table, relative to the root.
        columns: Columns that it must have.
        images: What else is in the root, in words.

    Raises:
        ValueError: If no root is given, or the table cannot be read or lacks columns.
        FileNotFoundError: If the root or the table does not exist.
    """
    folder = root_folder(name, root, f"{file} and {images}")
    path = Listing().file(folder, file)
    if path is None:
        root_lacks(folder, file)
    frame = read_table(path)
    require_columns(frame, columns, what=str(path))
    return folder, frame


def published_column(folder: Path, file: str, key: str, column: str, values: Sequence[str]) -> dict[str, str]:
    """A column of a further table of the root, by name.

    Args:
        folder: The root.
        file: The table, relative to the root.
        key: The column with the names.
        column: The column.
        values: What its cells may be.

    Raises:
        ValueError: If the table cannot be read or lacks a column, a name occurs twice, or a cell is none of the values.
        FileNotFoundError: If it does not exist.
    """
    path = Listing().file(folder, file)
    if path is None:
        root_lacks(folder, file)
    frame = read_table(path)
    require_columns(frame, [key, column], what=str(path))
    faults = repeated_names(frame, key)
    cells = [str(cell).removesuffix(".0") for cell in texts(frame, column)]
    faults += [
        f"column {column!r} has {cell!r} in row {row}; known are: {', '.join(values)}"
        for row, cell in zip(frame.index, cells)
        if cell not in values
    ]
    if faults:
        raise ValueError(f"{path}: {'; '.join(faults[:10])}" + ("; ..." if len(faults) > 10 else ""))
    return {str(name): cell for name, cell in zip(texts(frame, key), cells)}


def unknown_groups(frame: pd.DataFrame, column: str) -> list[str]:
    """One line per row that does not say whose it is."""
    return [
        f"column {column!r} is empty in row {row}: the split keeps the cases of one {column!r} together"
        for row, cell in zip(frame.index, texts(frame, column))
        if cell is None
    ]


def repeated_names(frame: pd.DataFrame, column: str) -> list[str]:
    """One line per name that occurs more than once, and per empty cell."""
    names = pd.Series(texts(frame, column), index=frame.index, dtype=object)
    faults = [f"column {column!r} is empty in row {row}" for row in names.index[names.isna()]]
    counts = names.value_counts()
    for name, times in counts[counts > 1].items():
        rows = ", ".join(map(str, names.index[names == name][:5]))
        faults.append(
            f"column {column!r}: {name!r} occurs {times} times, in rows {rows}: names of cases must be unique"
        )
    return faults


def invalid_cells(frame: pd.DataFrame, schema: TableSchema) -> list[str]:
    """One line per column with invalid cells."""
    faults = Faults()
    for column in schema.numerical:
        with faults.caught():
            column.values(frame)
    for category in schema.categorical:
        if unseen := category.unseen(frame):
            cells = texts(frame, category.name)
            rows = ", ".join(f"{cell!r} in row {row}" for row, cell in zip(frame.index, cells) if cell in set(unseen))
            faults.append(f"column {category.name!r} has {rows}; known are: {', '.join(category.categories)}")
    return faults


def refuse_published(
    name: str,
    faults: Sequence[str],
    reader: CaseReader,
    frame: pd.DataFrame,
    folder: Path,
    missing_images: Missing = "error",
) -> None:
    """Raise all faults of a table, if there are any, with the missing image files unless they may be absent.

    A case without a group is a fault.

    Raises:
        DatasetError: If there is a fault.
    """
    if reader.group_column is not None:
        faults = [*faults, *unknown_groups(frame, reader.group_column)]
    if faults:
        refuse(name, faults, find_images(reader.images, frame, folder).absent if missing_images == "error" else ())


def published_split(frame: pd.DataFrame, reader: CaseReader, **options: Any) -> Split:
    """The split by the reader's groups and its only target.

    Args:
        frame: One row per case.
        reader: Reads names, groups and the target.
        options: Of :func:`~mmfusion.data.splits.make.make_split`.
    """
    ids, groups = reader.names(frame)
    (target,) = reader.targets.values()
    return make_split(target.encode(frame).numpy(), groups, ids, **options)


def published_plan(
    name: str,
    frame: pd.DataFrame,
    folder: Path,
    reader: CaseReader,
    split: Split,
    schema: TableSchema,
    notes: Sequence[str],
    *,
    fold: int | None = None,
    folds: int | None = None,
    **rest: Any,
) -> Plan:
    """The plan, with notes on cells, folds and possible leaks.

    Args:
        name: The dataset.
        frame: One row per case.
        folder: The root.
        reader: The reader without the fitted columns.
        split: Positions in the frame.
        schema: The fitted columns.
        notes: The dataset's own notes.
        fold: Index of the fold, from 0.
        folds: Number of folds of a cross-validation; None: none.
        rest: Further attributes of the plan.
    """
    notes = [*notes] if folds is None else [*notes, f"The test set is fold {fold or 0} of {folds}, counted from 0."]
    return Plan(
        name,
        frame,
        folder,
        replace(reader, schema=schema),
        split,
        notes=(*notes, *cell_notes(schema, frame), *leak_notes(schema, reader, frame.iloc[split.train])),
        about=cell_lines(schema, frame),
        fold=fold or 0,
        **rest,
    )


def cell_notes(schema: TableSchema, frame: pd.DataFrame) -> list[str]:
    """One note per column with cells that count as missing though not empty, or that are bounds.

    Cells are not quoted, since notes are saved with results; :func:`cell_lines` quotes them.
    """
    return [f"Look at this: {remark.without_cells}." for remark in schema.cell_remarks(frame)]


def cell_lines(schema: TableSchema, frame: pd.DataFrame) -> str:
    """Remarks with cells, one line each, to be shown to the user."""
    return "\n".join(f"! {remark}" for remark in schema.cell_remarks(frame))


def leak_notes(schema: TableSchema, reader: CaseReader, train: pd.DataFrame) -> list[str]:
    """One note per column that may leak the label; none with several targets.

    Args:
        schema: The fitted columns.
        reader: Reads targets and groups.
        train: The training rows.
    """
    if len(reader.targets) > 1:
        return []
    (target,) = reader.targets.values()
    leaks = schema.check(train, target.codes(train), classes=target.classes, groups=reader.names(train)[1])
    return [f"A possible leak: {leak}" for leak in leaks]
