"""Columns of file names: photographs or volumes."""

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
    """What a column of file names holds: volumes or images.

    Args:
        frame: The table.
        column: The column.
        size: Pixels along each side, or ``(height, width)``, or ``(height, width, slices)``.
        channels: Of images, 3 or 1.
        range: Of greyscale deeper than 8 bits, the values that become black and white.
        axes: Of volumes, the order of a file's axes.
        orientation: Of volumes, to which each file is turned; None or ``"file"``: as it is.
        clip: Of volumes, smallest and largest intensity that is kept.
        max_bytes: Of memory that one image or volume may take; None: the usual limit of its kind.

    Raises:
        ValueError: If the column names no file or both kinds, or the size does not fit the kind.
    """
    sides = (size, size) if isinstance(size, int) else tuple(size)
    names = distinct(one_column(frame, column))[1]
    if not names:
        raise ValueError(f"image column {column!r} names no file in any row: leave it out")
    volumes = [name for name in names if name.lower().endswith(VOLUMES)]
    if volumes and len(volumes) < len(names):
        other = next(name for name in names if name not in set(volumes))
        raise ValueError(
            f"image column {column!r} has volumes, such as {volumes[0]!r}, and others, such as {other!r}: make two "
            "columns of it"
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
    """The column's name as that of a modality: an identifier that nobody else has."""
    name = re.sub(r"\W+", "_", column).strip("_") or "image"
    if name[0].isdigit() or name == "meta" or name_fault(name):
        name = f"image_{name}"
    while name in taken:
        name += "_"
    return name
