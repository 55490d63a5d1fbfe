"""Image columns of a table: photographs or volumes."""

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import pandas as pd

from mmfusion.data.images.photographs import MAX_BYTES as IMAGE_BYTES
from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.images.source import Source
from mmfusion.data.images.volumes import MAX_BYTES as VOLUME_BYTES
from mmfusion.data.images.volumes import VolumeSource
from mmfusion.data.schema.cells import distinct, one_column
from mmfusion.options import Axes, Pixels
from mmfusion.spec import name_fault

VOLUMES = (".nii", ".nii.gz")

Size: TypeAlias = Pixels | Axes


def source_of(
    frame: pd.DataFrame,
    column: str,
    size: Size,
    channels: int,
    range: Sequence[float] | None,
    axes: str,
    orientation: str | None,
    clip: Sequence[float] | None,
    max_bytes: int | None,
) -> Source:
    """The image source of a column of file names.

    Args:
        frame: The table.
        column: The column.
        size: Pixels along each side, or ``(height, width)``, or ``(height, width, slices)``.
        channels: For images, 3 or 1.
        range: For greyscale deeper than 8 bits, the values that become black and white.
        axes: For volumes, the order of a file's axes.
        orientation: For volumes, the orientation to which files are turned; None or ``"file"``: files are not turned.
        clip: For volumes, the range to which intensities are clipped.
        max_bytes: Limit of memory of one image or volume; None: the default of its kind.

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
    if len(sides) not in (2, 3):
        raise ValueError(f"size expects a number, (height, width), or (height, width, slices), got {size!r}")
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
