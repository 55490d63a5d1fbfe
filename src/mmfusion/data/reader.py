"""Reader of cases: prepares a table and image files, with what was fitted on the training rows."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmfusion.data.frame import FrameDataset
from mmfusion.data.images.bag_rows import BagRows
from mmfusion.data.images.cache import ImageCache
from mmfusion.data.images.intensity import Intensity
from mmfusion.data.images.source import Source
from mmfusion.data.images.sources import load_images, named_columns, no_images, source_from_dict
from mmfusion.data.schema.cells import distinct, key, one_column, require_columns, texts
from mmfusion.data.schema.table_schema import TableSchema
from mmfusion.packed import entries, text, unpack
from mmfusion.spec import Classes, DataSpec, Modality

T = TypeVar("T")
Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of images read so far and of all images."""


@dataclass(frozen=True)
class TargetColumn:
    """The column of a target and its classes.

    Attributes:
        column: The column's name.
        classes: The classes' names, in the order of their indices.
        aliases: Other spellings or finer labels, with their class.
    """

    column: str
    classes: tuple[str, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "aliases", dict(self.aliases))
        if twice := sorted({name for name in self.classes if self.classes.count(name) > 1}):
            raise ValueError(f"target column {self.column!r} has repeated classes: {twice}")
        unknown = sorted(set(self.aliases.values()) - set(self.classes))
        if unknown:
            raise ValueError(f"target column {self.column!r} has aliases of {unknown}, which are not in {self.classes}")

    def encode(self, frame: pd.DataFrame) -> Tensor:
        """Class indices, shape ``(n,)`` int64.

        Raises:
            ValueError: If the column is missing, a cell is empty or not a known class, or all cells have one class.
        """
        require_columns(frame, [self.column])
        encoded = torch.from_numpy(self.codes(frame))
        if invalid := self._invalid(frame, encoded.numpy()):
            more = f", and {len(invalid) - 10} more" if len(invalid) > 10 else ""
            raise ValueError(
                f"label column {self.column!r} has {', '.join(invalid[:10])}{more}; known are: "
                f"{', '.join(self._known())}"
            )
        if encoded.min() == encoded.max():
            raise ValueError(
                f"label column {self.column!r} has only one class, {self.classes[int(encoded[0])]!r}, in all "
                f"{len(frame)} rows: expected at least two classes"
            )
        return encoded

    def faults(self, frame: pd.DataFrame) -> list[str]:
        """One line per row whose cell is empty or not a known class."""
        invalid = self._invalid(frame, self.codes(frame))
        return [f"label column {self.column!r} has {text}; known are: {', '.join(self._known())}" for text in invalid]

    def codes(self, frame: pd.DataFrame) -> NDArray[np.int64]:
        """Class of each row, -1 for none."""
        known = self._known()
        # Case and blanks only matter if classes differ only in them.
        counts = Counter(key(name) for name in known)
        code_of = {key(name): code for name, code in known.items() if counts[key(name)] == 1}
        codes, labels = distinct(one_column(frame, self.column))
        class_of = [known.get(text, code_of.get(key(text), -1)) for text in labels]
        return np.array([*class_of, -1], dtype=np.int64)[codes]

    def _known(self) -> dict[str, int]:
        codes = {name: code for code, name in enumerate(self.classes)}
        return codes | {alias: codes[name] for alias, name in self.aliases.items()}

    def _invalid(self, frame: pd.DataFrame, codes: NDArray[np.int64]) -> list[str]:
        labels = texts(frame, self.column)
        descriptions = (
            "no label" if labels[i] is None else f"the label {labels[i]!r}" for i in np.flatnonzero(codes < 0)
        )
        return [f"{what} in row {row}" for what, row in zip(descriptions, frame.index[codes < 0])]


@dataclass(frozen=True)
class CaseReader:
    """Prepares training rows and new cases in the same way; saved with a run as JSON.

    Attributes:
        targets: Columns of the targets, by name.
        images: Image sources, by modality.
        schema: The fitted columns of the table; None without a table modality.
        table_name: Name of the table modality.
        id_column: Column with each case's name; None, or not in a table: the row's label.
        group_column: Column with the patient or lesion; None, or not in a table: every case is its own group.
        intensities: Scaling of intensities by image modality; others are not scaled.
    """

    targets: Mapping[str, TargetColumn]
    images: Mapping[str, Source] = field(default_factory=dict)
    schema: TableSchema | None = None
    table_name: str = "meta"
    id_column: str | None = None
    group_column: str | None = None
    intensities: Mapping[str, Intensity] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", dict(self.targets))
        object.__setattr__(self, "images", dict(self.images))
        object.__setattr__(self, "intensities", dict(self.intensities))
        if unknown := sorted(set(self.intensities) - set(self.images)):
            raise ValueError(f"intensities are given for {unknown}, which are no image modalities")
        if self.schema is not None and self.table_name in self.images:
            raise ValueError(f"the table modality and an image modality are both called {self.table_name!r}")

    @property
    def spec(self) -> DataSpec:
        """Modalities, images first, and targets."""
        modalities: dict[str, Modality] = {name: source.spec for name, source in self.images.items()}
        if self.schema is not None:
            modalities[self.table_name] = self.schema.columns
        targets = {name: Classes(len(target.classes), target.classes) for name, target in self.targets.items()}
        return DataSpec(modalities, targets=targets)

    def columns_of(self, modality: str) -> tuple[str, ...]:
        """The columns from which a modality is read.

        Raises:
            ValueError: If the modality is unknown.
        """
        if modality in self.images:
            return tuple(named_columns(self.images[modality].column))
        if self.schema is None or modality != self.table_name:
            raise ValueError(f"unknown modality {modality!r}; valid: {', '.join(self.spec.names)}")
        return self.schema.sources

    def read(
        self,
        frame: pd.DataFrame,
        image_root: Path | str | None = None,
        with_targets: bool = True,
        *,
        missing_images: Literal["error", "absent"] = "error",
        without: Collection[str] = (),
        cache: ImageCache | None = None,
        progress: Progress | None = None,
    ) -> FrameDataset:
        """Read all cases of a table, decoding each image once.

        Args:
            frame: One row per case.
            image_root: The folder that the table's image names are relative to; None: the working folder.
            with_targets: Whether labels are read, too; False for new cases without labels.
            missing_images: Whether a missing image file is an error ("error") or means that the case lacks the modality
                ("absent"). A file that cannot be decoded is always an error.
            without: Modalities that are absent in all cases: they are not read, and their columns may be missing.
            cache: Keeps decoded images on disk; None: they are in memory, see
                :func:`~mmfusion.data.images.sources.load_images`.
            progress: Called with the number of images read so far and of all images.

        Returns:
            The dataset; without targets, its cases' ``targets`` are empty.

        Raises:
            ValueError: If a column is missing, a cell or label is invalid, a name occurs twice, an image cannot be
                decoded, or ``without`` has an unknown modality.
            FileNotFoundError: If images are missing and ``missing_images`` is "error".
        """
        if unknown := sorted(set(without) - set(self.spec.names)):
            raise ValueError(f"without names {unknown}; the modalities are: {', '.join(self.spec.names)}")
        # Cheap checks come before the images.
        columns = self._columns(frame, with_targets, without)
        sources = {name: source for name, source in self.images.items() if name not in without}
        images, present = load_images(
            sources, frame, image_root, missing=missing_images, cache=cache, progress=progress
        )
        for name in without:
            present[name] = torch.zeros(len(frame), dtype=torch.bool)
            if name in self.images:
                images[name] = no_images(self.images[name], len(frame))
        return FrameDataset(self.spec, frame, images=images, present=present, intensities=self._ready, **columns)

    def assemble(
        self,
        frame: pd.DataFrame,
        images: Mapping[str, Tensor | BagRows],
        with_targets: bool = True,
        *,
        present: Mapping[str, Tensor] | None = None,
    ) -> FrameDataset:
        """As :meth:`read`, with images that are in memory already.

        Args:
            frame: One row per case.
            images: By modality, shape ``(n, channels, *spatial)``, uint8 or float in [0, 1]; or bags of such images.
            with_targets: As in :meth:`read`.
            present: By modality, shape ``(n,)`` bool, True is present; other modalities are present in all cases.

        Returns:
            The dataset.

        Raises:
            ValueError: As :meth:`read`, or if the images do not fit the spec.
        """
        columns = self._columns(frame, with_targets)
        return FrameDataset(self.spec, frame, images=images, present=present, intensities=self._ready, **columns)

    @property
    def _ready(self) -> dict[str, Intensity]:
        """The intensities without those that are still to be fitted on the images."""
        return {
            name: intensity
            for name, intensity in self.intensities.items()
            if intensity.mean or intensity.standardize != "sequence"
        }

    def _columns(self, frame: pd.DataFrame, with_targets: bool, without: Collection[str] = ()) -> dict[str, Any]:
        """Tables, targets, ids and groups."""
        if not len(frame):
            raise ValueError("the table has no rows: at least one case is needed")
        ids, groups = self.names(frame)
        tables = {}
        if self.schema is not None:
            rows = frame[[]] if self.table_name in without else frame
            absent: Literal["error", "missing"] = "missing" if self.table_name in without else "error"
            tables[self.table_name] = self.schema.transform(rows, absent=absent)
        return {
            "tables": tables,
            "targets": {name: target.encode(frame) for name, target in self.targets.items()} if with_targets else {},
            "ids": ids,
            "groups": groups,
        }

    def names(self, frame: pd.DataFrame) -> tuple[list[str], list[str]]:
        """The name of each case, and its patient or lesion."""
        ids = _named(frame, self.id_column, [str(row) for row in frame.index])
        if self.group_column is None or self.group_column not in frame.columns:
            return ids, ids
        # A case of an unknown patient is its own group; the prefix distinguishes it from real ones.
        return ids, _named(frame, self.group_column, [f"case {case}" for case in ids])

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, for JSON."""
        return {
            "targets": {
                name: {"column": t.column, "classes": list(t.classes), "aliases": dict(t.aliases)}
                for name, t in self.targets.items()
            },
            "images": {name: source.to_dict() for name, source in self.images.items()},
            "schema": None if self.schema is None else self.schema.to_dict(),
            "table_name": self.table_name,
            "id_column": self.id_column,
            "group_column": self.group_column,
            "intensities": {name: intensity.to_dict() for name, intensity in self.intensities.items()},
        }

    @classmethod
    def from_dict(cls, packed: Mapping[str, Any]) -> "CaseReader":
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: If an entry is invalid; names the key.
        """
        needed = ("targets", "images", "schema", "table_name", "id_column", "group_column")
        # Older runs have no intensities.
        content = {"intensities": {}, **entries(packed, "reader", *needed)}
        schema = content["schema"]
        read: dict[str, Any] = {
            "targets": _each(content, "targets", lambda value: unpack(TargetColumn, value, "target")),
            "images": _each(content, "images", source_from_dict),
            "schema": None if schema is None else TableSchema.from_dict(schema),
            "table_name": text(content["table_name"], "reader.table_name"),
            "intensities": _each(content, "intensities", Intensity.from_dict),
        }
        for name in ("id_column", "group_column"):
            read[name] = None if content[name] is None else text(content[name], f"reader.{name}")
        try:
            return cls(**read)
        except ValueError as error:
            raise ValueError(f"reader.images, reader.intensities and reader.table_name: {error}") from error


def _named(frame: pd.DataFrame, column: str | None, default: list[str]) -> list[str]:
    """The cells of a column, with defaults for empty ones or without the column."""
    if column is None or column not in frame.columns:
        return default
    return [usual if cell is None else cell for usual, cell in zip(default, texts(frame, column), strict=True)]


def _each(content: Mapping[str, Any], name: str, read: Callable[[Any], T]) -> dict[str, T]:
    """Read all entries of one of the reader's objects; an error names the entry."""
    values: dict[str, T] = {}
    for entry, packed in entries(content[name], f"reader.{name}").items():
        try:
            values[entry] = read(packed)
        except ValueError as error:
            raise ValueError(f"reader.{name}.{entry}: {error}") from error
    return values
