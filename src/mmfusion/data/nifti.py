"""Volumes: NIfTI files to voxels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmfusion.data.images import ImageSource
from mmfusion.layers.optional import need
from mmfusion.spec import Image


@dataclass(frozen=True)
class VolumeSource(ImageSource):
    """Where a modality's volumes are; the file's axes are height, width and slices.

    Attributes:
        column: The table's column with the files' names.
        size: ``(height, width, slices)`` in voxels.
        axes: What a file's axes are: ``"hws"``.
        spacing: Distance between neighbours along each axis, in millimetres.
    """

    size: tuple[int, int, int]  # type: ignore[assignment]
    channels: int = 1
    axes: str = "hws"
    spacing: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", tuple(self.size))

    @property
    def spec(self) -> Image:
        """What a model needs to know."""
        return Image(1, self.size, self.spacing)

    def decode(self, path: Path) -> np.ndarray:
        """The volume's voxels, shape ``(1, height, width, slices)`` float16."""
        voxels = np.asarray(need("nibabel", "medical").load(path).get_fdata(dtype=np.float32), dtype=np.float16)
        return voxels[None]
