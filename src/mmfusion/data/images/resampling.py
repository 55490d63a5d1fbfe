"""Volumes interpolated to one spacing, where a structure has the same size in all, and maps at another size."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F


def resampled(
    voxels: NDArray[np.float32],
    spacing: Sequence[float],
    target: Sequence[float],
    size: tuple[int, int, int],
    *,
    fill: float | None = None,
) -> NDArray[np.float32]:
    """A volume at another spacing, around its center: cut where it is larger, filled beyond.

    Trilinear, without antialiasing: a spacing of more than twice the file's skips voxels.

    Args:
        voxels: Shape ``(height, width, slices)``.
        spacing: Distance between neighbors along each axis; positive.
        target: Likewise, of the result.
        size: Shape of the result.
        fill: Value beyond the volume; None: its least.
    """
    least = float(voxels.min()) if fill is None else fill
    places = []
    for n, old, new, n_new in zip(voxels.shape, spacing, target, size):
        steps = torch.arange(n_new, dtype=torch.float64) - (n_new - 1) / 2
        at = (n - 1) / 2 + steps * (new / old)
        # Of torch's coordinates -1 and 1 are the outer sides of the first and last voxel.
        places.append(((2 * at + 1) / n - 1).float())
    height, width, slices = torch.meshgrid(*places, indexing="ij")
    # The coordinates of grid_sample are in the opposite order of the axes.
    grid = torch.stack([slices, width, height], dim=-1)[None]
    above = torch.from_numpy(np.ascontiguousarray(voxels) - np.float32(least))[None, None]
    result: NDArray[np.float32] = F.grid_sample(above, grid, mode="bilinear", align_corners=False)[0, 0].numpy()
    return result + np.float32(least)


def resized_map(heat: NDArray[np.float32], size: Sequence[int]) -> NDArray[np.float32]:
    """A map at another size, linearly between the centers of its positions; 2D or 3D."""
    mode = "bilinear" if len(size) == 2 else "trilinear"
    x = torch.from_numpy(np.ascontiguousarray(heat, dtype=np.float32))[None, None]
    result: NDArray[np.float32] = F.interpolate(x, size=tuple(size), mode=mode, align_corners=False)[0, 0].numpy()
    return result
