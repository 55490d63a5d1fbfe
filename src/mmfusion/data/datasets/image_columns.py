"""Image columns of a table: photographs or volumes."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Literal, TypeAlias

import pandas as pd

from mmfusion.data.datasets.faults import Faults
from mmfusion.data.images.axes_survey import survey_axes
from mmfusion.data.images.bag_cells import SEPARATOR, may_be_bag, names_of
from mmfusion.data.images.depth import depth_of
from mmfusion.data.images.dicom_files import ENDINGS, is_dicom
from mmfusion.data.images.dicom_images import DicomSource, Frame
from mmfusion.data.images.listing import Listing, is_pattern
from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.images.planar import MAX_BYTES as IMAGE_BYTES
from mmfusion.data.images.source import Source
from mmfusion.data.images.sources import find_images
from mmfusion.data.images.volumes import MAX_BYTES as VOLUME_BYTES
from mmfusion.data.images.volumes import VolumeSource
from mmfusion.data.schema.cells import distinct, one_column
from mmfusion.options import Axes, Pixels
from mmfusion.spec import name_fault

VOLUMES = {".nii": "nifti", ".nii.gz": "nifti", ".nrrd": "nrrd"}
"""Endings of volumes, and their formats."""
_UNREAD = {
    ".mha": "convert it to NIfTI",
    ".mhd": "convert it to NIfTI",
    ".nhdr": "store header and voxels in one file (.nrrd)",
    ".img": "convert it to NIfTI in one file (.nii.gz)",
    ".hdr": "convert it to NIfTI in one file (.nii.gz)",
    ".mgz": "convert it to NIfTI",
}
"""Endings of volumes that are not read, with what to do."""

Size: TypeAlias = Pixels | Axes


def image_sources(
    frame: pd.DataFrame,
    folder: Path,
    columns: Sequence[str],
    source: Callable[[str], Source],
    is_turned: bool,
    faults: Faults,
) -> tuple[dict[str, Source], tuple[str, ...]]:
    """The image sources of a table, by modality, and notes on bags, depth and orientation.

    Args:
        frame: The table.
        folder: The root of the images.
        columns: The columns of file names; those that the table lacks are left out.
        source: The source of a column; see :func:`source_of`.
        is_turned: Whether volumes are turned to the orientation of most files of their column.
        faults: Receives the faults of columns and headers.
    """
    if twice := sorted({column for column in columns if list(columns).count(column) > 1}):
        faults.append(f"image columns are given more than once: {twice}")
    sources: dict[str, Source] = {}
    for column in dict.fromkeys(columns):
        if column in frame.columns:
            with faults.caught():
                sources[modality_name(column, sources)] = source(column)
    if not folder.is_dir():
        return sources, ()
    files = find_images(sources, frame, folder)
    faults += files.excess
    notes: list[str] = [_in_bags(source, files.paths[name]) for name, source in sources.items() if source.bag > 1]
    for name, of_column in sources.items():
        if isinstance(of_column, ImageSource) and of_column.range is None:
            bits = depth_of(of_column, [path for _, path in files.each(name)])
            if bits < of_column.bits:
                sources[name] = replace(of_column, bits=bits)
                notes.append(
                    f"By their values, images of column {of_column.column!r} have {bits} bits in files of 16: "
                    f"{2**bits - 1} becomes white."
                )
    if not is_turned or not any(isinstance(source, VolumeSource) for source in sources.values()):
        return sources, tuple(notes)
    survey = survey_axes(sources, frame, files)
    faults += survey.faults
    return dict(survey.sources), (*notes, *survey.notes)


@dataclass(frozen=True)
class ImageOptions:
    """Options of image columns; see :class:`~mmfusion.data.datasets.table.TableDataset`."""

    size: Size
    channels: Literal[1, 3]
    range: Sequence[float] | None
    axes: str
    orientation: str | None
    clip: Sequence[float] | None
    max_bytes: int | None
    window: Sequence[float] | None
    image_frame: Frame | None
    spacing: Sequence[float] | None
    max_images: int

    def __post_init__(self) -> None:
        if self.window is not None and (self.range is not None or self.clip is not None):
            raise ValueError("window is another way to give range and clip: leave out these, or window")
        if self.window is not None and self.window[1] <= 0:
            raise ValueError(f"window expects a center and a positive width, got {list(self.window)}")

    @property
    def shown(self) -> tuple[float, float] | None:
        """Values that become black and white."""
        return _pair(self.range) or self._window

    @property
    def clipped(self) -> tuple[float, float] | None:
        """Values to which volumes are clipped."""
        return _pair(self.clip) or self._window

    @property
    def _window(self) -> tuple[float, float] | None:
        if self.window is None:
            return None
        center, width = self.window
        return float(center - width / 2), float(center + width / 2)


def _pair(values: Sequence[float] | None) -> tuple[float, float] | None:
    return None if values is None else (float(values[0]), float(values[1]))


def source_of(frame: pd.DataFrame, folder: Path, options: ImageOptions, column: str) -> Source:
    """The image source of a column of file names.

    Args:
        frame: The table.
        folder: The root of the images.
        options: Of all image columns.
        column: The column.

    Raises:
        ValueError: If the column names no file, several kinds or one that is not read, or the size does not fit the
            kind.
    """
    size = options.size
    sides = (size, size) if isinstance(size, int) else tuple(size)
    cells = distinct(one_column(frame, column))[1]
    if not cells:
        raise ValueError(f"image column {column!r} is empty in all rows: leave it out")
    is_bag, names = _names(cells, folder)
    bag = options.max_images if is_bag else 1
    kinds: dict[str, str] = {}
    for name in names:
        kinds.setdefault(kind_of(name, folder), name)
    if unread := {kind: name for kind, name in kinds.items() if kind in _UNREAD}:
        listing = "; ".join(f"{kind} such as {name!r}: {_UNREAD[kind]}" for kind, name in unread.items())
        raise ValueError(f"image column {column!r} has volumes of a kind that is not read ({listing})")
    if len(kinds) > 1:
        listing = ", ".join(f"{_KINDS[kind]} such as {name!r}" for kind, name in kinds.items())
        raise ValueError(f"image column {column!r} has several kinds of files ({listing}): divide it into columns")
    (kind,) = kinds
    if kind == "series" and len(sides) != 3:
        raise ValueError(
            f"image column {column!r} has folders of DICOM slices: give size as height, width and slices, got {size!r}"
        )
    if kind in VOLUMES.values() and len(sides) != 3:
        raise ValueError(f"image column {column!r} has volumes: give size as height, width and slices, got {size!r}")
    if len(sides) == 3 and kind != "image":
        spacing = options.spacing
        if spacing is not None and len(spacing) != 3:
            raise ValueError(f"spacing expects height, width and slices, in millimeters, got {list(spacing)}")
        return VolumeSource(
            column,
            (sides[0], sides[1], sides[2]),
            axes=options.axes,
            orientation=None if options.orientation == "file" else options.orientation,
            shape="any",
            clip=options.clipped,
            spacing=None if spacing is None else (float(spacing[0]), float(spacing[1]), float(spacing[2])),
            resample=spacing is not None,
            format="nifti" if kind == "nifti" else "nrrd" if kind == "nrrd" else "dicom",
            max_bytes=VOLUME_BYTES if options.max_bytes is None else options.max_bytes,
            bag=bag,
        )
    limit = IMAGE_BYTES if options.max_bytes is None else options.max_bytes
    pixels = (sides[0], sides[1])
    if kind == "dicom":
        return DicomSource(
            *(column, pixels, options.channels),
            range=options.shown,
            image_frame=options.image_frame,
            max_bytes=limit,
            bag=bag,
        )
    return ImageSource(column, pixels, options.channels, range=options.shown, max_bytes=limit, bag=bag)


def _names(cells: Sequence[str], folder: Path) -> tuple[bool, list[str]]:
    """Whether some cell names several images, and all names; of a pattern those of its files."""
    listing, names = Listing(), []
    is_bag = False
    for cell in cells:
        if not may_be_bag(cell) or listing.file(folder, cell) or listing.folder(folder, cell):
            names.append(cell)
            continue
        for name in names_of(cell):
            plain = not is_pattern(name) or listing.file(folder, name) or listing.folder(folder, name)
            names += [name] if plain else (matched := listing.matches(folder, name)) or [name]
            # A pattern without a file may be a name of a missing one.
            is_bag |= SEPARATOR in cell or (not plain and bool(matched))
    return is_bag, list(dict.fromkeys(names))


def _in_bags(source: Source, paths: Sequence[Sequence[Path]]) -> str:
    sizes = [len(of_case) for of_case in paths if of_case]
    counts = f"{min(sizes)} to {max(sizes)} images per case, median {median(sizes):g}" if sizes else "no image"
    return (
        f"Column {source.column!r} names several images per case, which are pooled: {counts}, at most {source.bag} "
        "(max_images)."
    )


_KINDS = {
    "nifti": "NIfTI volumes",
    "nrrd": "NRRD volumes",
    "dicom": "DICOM files",
    "series": "folders",
    "image": "images",
}


def kind_of(name: str, folder: Path) -> str:
    """What a name is of: a key of the kinds above, or an ending that is not read.

    Names without a known ending are looked at: DICOM files often have none.

    Args:
        name: Of a file, or a folder of DICOM slices.
        folder: What it is relative to.
    """
    lower = name.lower()
    if volume := next((kind for ending, kind in VOLUMES.items() if lower.endswith(ending)), None):
        return volume
    if lower.endswith(ENDINGS):
        return "dicom"
    ending = Path(lower).suffix
    if ending in _UNREAD:
        return ending
    if ending[1:].isalpha():
        return "image"
    path = folder / name
    try:
        return "series" if path.is_dir() else "dicom" if is_dicom(path) else "image"
    except (OSError, ValueError):
        return "image"


def modality_name(column: str, taken: Mapping[str, object]) -> str:
    """A modality's name from the column's name: a unique identifier."""
    name = re.sub(r"\W+", "_", column).strip("_") or "image"
    if name[0].isdigit() or name == "meta" or name_fault(name):
        name = f"image_{name}"
    while name in taken:
        name += "_"
    return name
