"""Plan of a dataset before images are decoded: table, files and split."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from mmfusion.data.bundle import DataBundle
from mmfusion.data.images.cache import ImageCache
from mmfusion.data.images.source import Source
from mmfusion.data.images.sources import Missing, find_images
from mmfusion.data.reader import CaseReader, Progress
from mmfusion.data.schema.cells import require_columns, texts
from mmfusion.data.schema.subgroups import Subgroup
from mmfusion.data.schema.table_schema import TableSchema
from mmfusion.data.splits import SETS, Split


@dataclass(frozen=True)
class Plan:
    """Everything about a dataset except its images.

    Attributes:
        name: The registered name.
        frame: One row per case.
        root: The folder that image names are relative to.
        reader: With what was fitted on the training rows.
        split: Positions in the frame.
        published: Number of cases in the published data, by set or ``"all"``, and by class; the class ``""`` is all
            classes. Empty if unknown.
        sizes: Further numbers: what is counted, the count, the published number.
        notes: As in :class:`~mmfusion.data.bundle.DataBundle`.
        about: Likewise.
        fold: Index of the fold, from 0.
        missing_images: Whether a missing image file is an error or means that the case lacks the image.
        subgroups: As in the bundle.
    """

    name: str
    frame: pd.DataFrame
    root: Path | None
    reader: CaseReader
    split: Split
    published: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    sizes: tuple[tuple[str, int, int], ...] = ()
    notes: tuple[str, ...] = ()
    about: str = ""
    fold: int = 0
    missing_images: Missing = "error"
    subgroups: tuple[Subgroup, ...] = ()

    def load(self, cache: ImageCache | None = None, progress: Progress | None = None) -> DataBundle:
        """Decode the images, each once, and fit their intensities.

        Raises:
            ValueError: If images cannot be decoded; names them.
            FileNotFoundError: If images are missing; names them, before any is decoded.
        """
        cases = self.reader.read(
            self.frame, self.root, missing_images=self.missing_images, cache=cache, progress=progress
        )
        train = cases.subset(self.split.train)
        reader = replace(self.reader, intensities=train.fitted(self.reader.intensities))
        cases = cases.scaled(reader.intensities)
        return DataBundle(
            self.name,
            cases.subset(self.split.train),
            cases.subset(self.split.validation),
            cases.subset(self.split.test),
            reader,
            notes=self.notes,
            about=self.about,
            fold=self.fold,
            subgroups=self.subgroups,
        )

    def counts(self) -> dict[str, dict[str, dict[str, int]]]:
        """Number of cases by target, set and class."""
        counts: dict[str, dict[str, dict[str, int]]] = {}
        for name, target in self.reader.targets.items():
            codes = target.encode(self.frame).numpy()
            counts[name] = {
                set_name: dict(zip(target.classes, np.bincount(codes[rows], minlength=len(target.classes)).tolist()))
                for set_name, rows in zip(SETS, self.split)
            }
        return counts


Planner = Callable[..., Plan]


def square(name: str, size: object) -> tuple[int, int]:
    """One number of pixels as the size of an image.

    Raises:
        ValueError: If it is not one, or not positive.
    """
    if type(size) is not int or size < 1:
        raise ValueError(f"{name} expects size as one number of pixels, for both sides, got {size!r}")
    return size, size


def root_folder(name: str, root: Path | str | None, wanted: str) -> Path:
    """The root, checked.

    Args:
        name: The dataset.
        root: The given root.
        wanted: Its expected content, in words.

    Raises:
        ValueError: If no root is given.
        FileNotFoundError: If it does not exist, or is empty.
    """
    if root is None:
        raise ValueError(f"{name} needs the folder with {wanted}: give it as the root (--root FOLDER, root in Python)")
    folder = Path(root)
    if not folder.is_dir():
        raise FileNotFoundError(f"the root {folder} does not exist, or is not a folder")
    if not any(folder.iterdir()):
        raise FileNotFoundError(f"the root {folder} is empty, expected {wanted}")
    return folder


def root_lacks(folder: Path, what: str) -> NoReturn:
    """Raise an error for a root that lacks files, with its content."""
    content = ", ".join(sorted(path.name for path in folder.iterdir())[:8])
    raise FileNotFoundError(f"the root {folder} has no {what}; it has: {content}")


def repeated(frame: pd.DataFrame, column: str) -> list[str]:
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


def strange_cells(frame: pd.DataFrame, schema: TableSchema) -> list[str]:
    """One line per column with invalid cells."""
    faults: list[str] = []
    for column in schema.numerical:
        try:
            column.values(frame)
        except ValueError as error:
            faults.append(str(error))
    for category in schema.categorical:
        if unseen := category.unseen(frame):
            cells = texts(frame, category.name)
            rows = ", ".join(f"{cell!r} in row {row}" for row, cell in zip(frame.index, cells) if cell in set(unseen))
            faults.append(f"column {category.name!r} has {rows}; known are: {', '.join(category.categories)}")
    return faults


def cell_notes(schema: TableSchema | None, frame: pd.DataFrame) -> tuple[str, ...]:
    """One note per column with cells that count as missing though not empty, or that are bounds.

    Cells are not quoted, since notes are saved with results; :func:`cell_lines` quotes them.
    """
    remarks = [] if schema is None else schema.cell_remarks(frame)
    return tuple(f"Look at this: {remark.without_cells}." for remark in remarks)


def cell_lines(schema: TableSchema | None, frame: pd.DataFrame) -> str:
    """Remarks with cells, one line each, to be shown to the user."""
    return "\n".join(f"! {remark}" for remark in ([] if schema is None else schema.cell_remarks(frame)))


def absent_images(images: Mapping[str, Source], frame: pd.DataFrame, root: Path) -> list[str]:
    """One line per image of the table that is not in the root."""
    return find_images(images, frame, root).absent


def needs(frame: pd.DataFrame, columns: Sequence[str], path: Path) -> None:
    """Check that a published table has its columns.

    Raises:
        ValueError: If it lacks some; names them, and the columns that it has.
    """
    require_columns(frame, columns, what=str(path))


def leaks(
    schema: TableSchema | None,
    frame: pd.DataFrame,
    labels: Any,
    classes: Sequence[str],
    groups: Sequence[str] | None,
) -> tuple[str, ...]:
    """One note per column that may leak the label, from the training rows."""
    if schema is None:
        return ()
    return tuple(f"A possible leak: {leak}" for leak in schema.check(frame, labels, classes=classes, groups=groups))
