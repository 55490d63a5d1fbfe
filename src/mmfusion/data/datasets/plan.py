"""A dataset before any image is decoded: its table, its files, its split."""

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
    """All that a dataset's builder knows before it decodes.

    Attributes:
        name: The registered name.
        frame: One row a case.
        root: The folder that image names are relative to.
        reader: With what was fitted on the training rows.
        split: Positions in the frame.
        published: How many cases of which class there are in the published set, by part or ``"all"``; the class ``""``
            stands for all of them. Empty where that is not known.
        sizes: Other numbers of the published set beside those found: what is counted, found, published.
        notes: As those of the :class:`~mmfusion.data.bundle.DataBundle`.
        about: Likewise.
        fold: Which fold's test part it is, from 0.
        missing_images: What an image file that is not there means.
        subgroups: As those of the bundle.
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
        """Decode the images, each once, and fit what their values are scaled by.

        Raises:
            ValueError: If an image cannot be decoded; names all.
            FileNotFoundError: If images are not there; names all, before the first is decoded.
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
        """How many cases there are, by target, part and class."""
        found: dict[str, dict[str, dict[str, int]]] = {}
        for name, target in self.reader.targets.items():
            codes = target.encode(self.frame).numpy()
            found[name] = {
                part: dict(zip(target.classes, np.bincount(codes[rows], minlength=len(target.classes)).tolist()))
                for part, rows in zip(SETS, self.split)
            }
        return found


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
        name: Of the dataset.
        root: As the user gave it.
        wanted: What it is expected to hold, in words.

    Raises:
        ValueError: If none was given.
        FileNotFoundError: If it is not there, or empty.
    """
    if root is None:
        raise ValueError(f"{name} needs the folder that holds {wanted}: give it as the root")
    folder = Path(root)
    if not folder.is_dir():
        raise FileNotFoundError(f"the root {folder} is not there, or is not a folder")
    if not any(folder.iterdir()):
        raise FileNotFoundError(f"the root {folder} is empty; {name} expects {wanted} in it")
    return folder


def root_lacks(folder: Path, what: str) -> NoReturn:
    """Say that the root is another folder than it should be, and what is in it."""
    there = ", ".join(sorted(path.name for path in folder.iterdir())[:8])
    raise FileNotFoundError(f"the root {folder} has no {what}; it has: {there}")


def repeated(frame: pd.DataFrame, column: str) -> list[str]:
    """A line for each name that a column has more than once, or that a cell lacks."""
    names = pd.Series(texts(frame, column), index=frame.index, dtype=object)
    faults = [f"column {column!r} is empty in row {row}" for row in names.index[names.isna()]]
    counts = names.value_counts()
    for name, times in counts[counts > 1].items():
        rows = ", ".join(map(str, names.index[names == name][:5]))
        faults.append(f"column {column!r}: {name!r} occurs {times} times, in rows {rows}: each case needs its own")
    return faults


def strange_cells(frame: pd.DataFrame, schema: TableSchema) -> list[str]:
    """A line for each column with cells that are not what it holds."""
    faults: list[str] = []
    for column in schema.numerical:
        try:
            column.values(frame)
        except ValueError as error:
            faults.append(str(error))
    for category in schema.categorical:
        if strange := category.unseen(frame):
            said = texts(frame, category.name)
            rows = ", ".join(f"{cell!r} in row {row}" for row, cell in zip(frame.index, said) if cell in set(strange))
            faults.append(f"column {category.name!r} has {rows}; known are: {', '.join(category.categories)}")
    return faults


def cell_notes(schema: TableSchema | None, frame: pd.DataFrame) -> tuple[str, ...]:
    """A note for each column with cells that count as missing though something is there, or that are bounds.

    Without what is in them: notes are kept with results. :func:`cell_lines` has it.
    """
    remarks = [] if schema is None else schema.cell_remarks(frame)
    return tuple(f"Look at this: {remark.without_cells}." for remark in remarks)


def cell_lines(schema: TableSchema | None, frame: pd.DataFrame) -> str:
    """The same with the cells, a line each, for the user's eyes."""
    return "\n".join(f"! {remark}" for remark in ([] if schema is None else schema.cell_remarks(frame)))


def absent_images(images: Mapping[str, Source], frame: pd.DataFrame, root: Path) -> list[str]:
    """A line for each image that the table names and the root does not have."""
    return find_images(images, frame, root).absent


def needs(frame: pd.DataFrame, columns: Sequence[str], path: Path) -> None:
    """Refuse a published table that lacks columns.

    Raises:
        ValueError: Naming every missing column, and those that are there.
    """
    require_columns(frame, columns, what=str(path))


def leaks(
    schema: TableSchema | None,
    frame: pd.DataFrame,
    labels: Any,
    classes: Sequence[str],
    groups: Sequence[str] | None,
) -> tuple[str, ...]:
    """A note for each column that gives the label away on the training rows."""
    if schema is None:
        return ()
    return tuple(f"A possible leak: {leak}" for leak in schema.check(frame, labels, classes=classes, groups=groups))
