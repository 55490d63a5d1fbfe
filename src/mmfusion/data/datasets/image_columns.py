"""Image columns of a table: photographs or volumes."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import pandas as pd

from mmfusion.data.datasets.faults import Faults
from mmfusion.data.images.axes_survey import survey_axes
from mmfusion.data.images.photographs import MAX_BYTES as IMAGE_BYTES
from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.images.source import Source
from mmfusion.data.images.sources import find_images
from mmfusion.data.images.volumes import MAX_BYTES as VOLUME_BYTES
from mmfusion.data.images.volumes import VolumeSource
from mmfusion.data.schema.cells import distinct, one_column
from mmfusion.options import Axes, Pixels
from mmfusion.spec import name_fault

VOLUMES = (".nii", ".nii.gz")

Size: TypeAlias = Pixels | Axes


def image_sources(
    frame: pd.DataFrame,
    folder: Path,
    columns: Sequence[str],
    source: Callable[[str], Source],
    is_turned: bool,
    faults: Faults,
) -> tuple[dict[str, Source], tuple[str, ...]]:
    """The image sources of a table, by modality, and notes on the orientation of volumes.

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
    if not is_turned or not folder.is_dir() or not any(isinstance(s, VolumeSource) for s in sources.values()):
        return sources, ()
    survey = survey_axes(sources, frame, find_images(sources, frame, folder))
    faults += survey.faults
    return dict(survey.sources), survey.notes


def source_of(
    frame: pd.DataFrame,
    column: str,
    *,
    size: Size,
    channels: Literal[1, 3],
    range: Sequence[float] | None,
    axes: str,
    orientation: str | None,
    clip: Sequence[float] | None,
    max_bytes: int | None,
) -> Source:
    """The image source of a column of file names; for the options see
    :class:`~mmfusion.data.datasets.table.TableDataset`.

    Raises:
        ValueError: If the column names no file or both kinds, or the size does not fit the kind.
    """
    sides = (size, size) if isinstance(size, int) else tuple(size)
    names = distinct(one_column(frame, column))[1]
    if not names:
        raise ValueError(f"image column {column!r} is empty in all rows: leave it out")
    volumes = [name for name in names if name.lower().endswith(VOLUMES)]
    if volumes and len(volumes) < len(names):
        other = next(name for name in names if name not in set(volumes))
        raise ValueError(
            f"image column {column!r} has volumes, such as {volumes[0]!r}, and other files, such as {other!r}: divide "
            "it into two columns"
        )
    if volumes:
        if len(sides) != 3:
            raise ValueError(
                f"image column {column!r} has volumes: give size as height, width and slices, got {size!r}"
            )
        return VolumeSource(
            column,
            (sides[0], sides[1], sides[2]),
            axes=axes,
            orientation=None if orientation == "file" else orientation,
            shape="any",
            clip=None if clip is None else (float(clip[0]), float(clip[1])),
            max_bytes=VOLUME_BYTES if max_bytes is None else max_bytes,
        )
    grey = None if range is None else (float(range[0]), float(range[1]))
    limit = IMAGE_BYTES if max_bytes is None else max_bytes
    return ImageSource(column, (sides[0], sides[1]), channels, range=grey, max_bytes=limit)


def modality_name(column: str, taken: Mapping[str, object]) -> str:
    """A modality's name from the column's name: a unique identifier."""
    name = re.sub(r"\W+", "_", column).strip("_") or "image"
    if name[0].isdigit() or name == "meta" or name_fault(name):
        name = f"image_{name}"
    while name in taken:
        name += "_"
    return name
