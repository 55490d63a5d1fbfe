"""Formats of volume files: what a header says of a volume, and its voxels."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.images.source import Properties

VolumeFormatName: TypeAlias = Literal["nifti", "dicom", "nrrd"]


@dataclass(frozen=True)
class VolumeHeader:
    """A volume by its header.

    Attributes:
        shape: Number of voxels along each axis, in the order of :meth:`VolumeFormat.voxels`.
        dtype: Type of the stored voxels.
        spacing: Distance between neighbors along each axis, in millimeters; 0 where it is unknown.
        directions: Direction of each axis, one letter each, such as ``"RAS"``; None if the header has none.
        before: Bytes in front of the first voxel.
        properties: Of the file, such as the program that wrote it.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    spacing: tuple[float, ...]
    directions: str | None = None
    before: int = 0
    properties: Properties = field(default_factory=dict)


class VolumeFormat(Protocol):
    """A format of volume files."""

    @property
    def decoder(self) -> str:
        """The decoding library with its version."""

    def header(self, path: Path) -> VolumeHeader:
        """The header of a file; a ValueError if it is damaged or of another format."""

    def voxels(self, path: Path, header: VolumeHeader) -> NDArray[np.float32]:
        """The voxels, of the header's first three axes, with its scale applied; a ValueError if they are damaged."""


def directions_of(axes: Sequence[Sequence[float]]) -> str | None:
    """The nearest anatomical direction of each axis.

    Args:
        axes: Three vectors of three coordinates, right, anterior and superior.

    Returns:
        One letter each, such as ``"RAS"``; None if the vectors are not three independent directions.
    """
    matrix = np.asarray(axes, dtype=np.float64)
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or np.linalg.matrix_rank(matrix) < 3:
        return None
    matrix = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    orders = list(itertools.permutations(range(3)))
    order = max(orders, key=lambda order: sum(abs(matrix[i, axis]) for i, axis in enumerate(order)))
    return "".join(("LR", "PA", "IS")[axis][int(matrix[i, axis] > 0)] for i, axis in enumerate(order))
