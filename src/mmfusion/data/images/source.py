"""Interface of image sources: location and decoding of a modality's files."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.images.bag_cells import BagFiles, bag_files
from mmfusion.data.images.listing import Listing
from mmfusion.options import Length, Range
from mmfusion.spec import Image

Folders: TypeAlias = Annotated[tuple[str, ...], Length(1, 1000)]
"""Folders below the root, searched in order; ``""`` is the root itself."""
Bytes: TypeAlias = Annotated[int, Range(1, 2**50)]
"""Limit of the memory of one image."""
Most: TypeAlias = Annotated[int, Range(1, 10_000)]
"""Most images of a case; above 1 a cell may name several."""
Properties: TypeAlias = Mapping[str, str | float]
"""Properties of a file by name, such as its format and size: a class should not be known by them."""


class Source(Protocol):
    """Location and decoding of a modality's files: :class:`~mmfusion.data.images.photographs.ImageSource`,
    :class:`~mmfusion.data.images.dicom_images.DicomSource`, :class:`~mmfusion.data.images.volumes.VolumeSource`,
    :class:`~mmfusion.data.images.stack.StackSource`.

    A frozen dataclass whose ``to_dict`` gives JSON with its ``kind`` and every option that a decoded image depends on.
    """

    @property
    def kind(self) -> str:
        """The name of the class in :func:`~mmfusion.data.images.sources.source_from_dict`."""

    @property
    def column(self) -> str:
        """The table's column with the file names, or a pattern of several columns."""

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders below the root, searched in order."""

    @property
    def suffix(self) -> str:
        """Appended to each name."""

    @property
    def bag(self) -> int:
        """Most images of a case; above 1 a cell may name several, see :mod:`~mmfusion.data.images.bag_cells`."""

    @property
    def spec(self) -> Image:
        """Channels, size and most images of a case, for models."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored pixels."""

    @property
    def decoder(self) -> str:
        """The decoding library with its version."""

    def find(self, root: Path, name: str, listing: Listing | None = None) -> Path | None:
        """The file of that name, or None; a listing saves reading the same folders again."""

    def files(self, path: Path) -> tuple[Path, ...]:
        """All files that :meth:`decode` reads for a path of :meth:`find`."""

    def probe(self, path: Path) -> None:
        """Check a file by its header only; a ValueError if :meth:`decode` would not accept it."""

    def decode(self, path: Path) -> NDArray[Any]:
        """A file's pixels, shape ``spec.shape``; a ValueError if it is damaged or does not fit."""

    def file_map(self, path: Path, heat: NDArray[np.float32]) -> NDArray[np.float32]:
        """A map of the decoded image, shape ``spec.size``, for the file's own pixels: their number, order and axes."""

    def at_file_size(self, path: Path) -> "Source":
        """The same source for images as large as the file's; itself where they are resampled to a spacing."""

    def properties(self, path: Path) -> Properties:
        """Properties of a file by its header: format, depth, size, device; a ValueError if it is damaged."""

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, for JSON."""


def n_bytes(source: Source) -> int:
    """Size of one decoded image in bytes."""
    return int(np.prod(source.spec.shape)) * source.dtype.itemsize


def packed(source: Any, optional: Collection[str]) -> dict[str, Any]:
    """A source as plain dictionaries and lists, for JSON.

    Args:
        source: A dataclass with a ``kind``.
        optional: Attributes that are left out at their default, so that caches and run folders of former versions,
            which did not have them, stay valid.
    """
    default = {entry.name: entry.default for entry in fields(source)}
    values = {name: value for name, value in asdict(source).items() if name not in optional or value != default[name]}
    lists = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return {"kind": source.kind, **lists}


def find_file(root: Path, folders: Iterable[str], names: Iterable[str], listing: Listing | None) -> Path | None:
    """The first of several names in the first folder that has it; see :class:`~mmfusion.data.images.listing.Listing`.

    Args:
        root: The folder that contains the folders.
        folders: Folders below the root.
        names: Names of files, tried in order.
        listing: Saves reading the same folders again; None: a new one.
    """
    listing, folders = listing or Listing(), list(folders)
    paths = (listing.file(root, os.path.join(folder, name)) for name in names for folder in folders)
    return next((path for path in paths if path is not None), None)


def find_bag(source: Source, root: Path, text: str, listing: Listing) -> BagFiles:
    """The files that a cell names: one, or any number where the source's cases may have several images.

    Args:
        source: Where the images are.
        root: The folder that names are relative to.
        text: The cell.
        listing: Saves reading the same folders again.
    """

    def find(name: str) -> Path | None:
        return source.find(root, name, listing)

    def matches(pattern: str) -> list[Path]:
        # What a pattern matches is a name below the root, whatever folder it was found in.
        anywhere = replace(source, folders=("",), suffix="")  # type: ignore[type-var]  # sources with bags are dataclasses
        for folder in source.folders:
            names = listing.matches(root, os.path.join(folder, f"{pattern}{source.suffix}"))
            if paths := [path for name in names if (path := anywhere.find(root, name, listing)) is not None]:
                return paths
        return []

    return bag_files(text, find, matches, source.bag)


def of_case(properties: Sequence[Properties]) -> Properties:
    """Properties of all files of a case: means of numbers, and texts that differ side by side."""
    if len(properties) == 1:
        return properties[0]
    together: dict[str, str | float] = {}
    for name in dict.fromkeys(name for each in properties for name in each):
        values = [each[name] for each in properties if name in each]
        numbers = [value for value in values if not isinstance(value, str)]
        together[name] = (
            sum(numbers) / len(numbers) if len(numbers) == len(values) else " + ".join(sorted(set(map(str, values))))
        )
    return together
