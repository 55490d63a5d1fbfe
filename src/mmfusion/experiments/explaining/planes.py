"""Images of one case as planes to look at, with what was found in them laid over, at the file's own size."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.images.resampling import resized_map
from mmfusion.data.images.source import Source
from mmfusion.data.images.stack import StackSource
from mmfusion.data.images.volumes import VolumeSource

MOST_VOXELS = 2**26
"""Of a volume that is shown as its file has it; a larger one is shown as the model reads it."""
LARGEST = 2048
"""Pixels of the longer side of a plane that is kept; a larger photograph is reduced."""
_AXES = ("row", "column", "slice")
_PLANES = {"R": "sagittal", "L": "sagittal", "A": "coronal", "P": "coronal", "S": "axial", "I": "axial"}

Layer = NDArray[np.float32]


@dataclass(frozen=True)
class Plane:
    """A picture, and what is laid over it.

    Attributes:
        title: Where a volume is cut; empty for an image of two axes.
        pixels: Shape ``(height, width, 3)`` uint8.
        heat: Of the map, shape ``(height, width)``, at least 0; None without a map.
        contributions: Of the region that each pixel is in, likewise, signed; None without regions.
        numbers: Of that region, likewise, int64.
        pixel: Height and width of a pixel, in the same unit.
    """

    title: str
    pixels: NDArray[np.uint8]
    heat: Layer | None
    contributions: Layer | None
    numbers: NDArray[np.int64] | None
    pixel: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True)
class Overlaid:
    """An image of a case.

    Attributes:
        planes: One; of a volume three, through the strongest place of the map.
        about: What is shown, as a sentence without its end.
        volume: Whether planes are cut through a volume.
    """

    planes: tuple[Plane, ...]
    about: str
    volume: bool = False


def overlaid(
    pixels: torch.Tensor,
    heat: torch.Tensor | None,
    numbers: torch.Tensor | None,
    values: NDArray[np.float64] | None,
    *,
    source: Source | None = None,
    path: Path | None = None,
    spacing: tuple[float, ...] | None = None,
) -> Overlaid:
    """The planes of an image, from its file where it is known.

    Args:
        pixels: As they are stored, shape ``(channels, *size)``: shown where there is no file.
        heat: Shape ``size``.
        numbers: Regions from 0, shape ``size``.
        values: Contribution of each region.
        source: Decodes the file.
        path: The file; None: it is not known.
        spacing: Distance of the voxels as the model reads them.
    """
    shown, directions, at_size = np.asarray(pixels), None, False
    if source is not None and path is not None:
        shown, spacing, directions, at_size = _from_file(source, path, shown, spacing)
    size = shown.shape[1:]
    hot = None if heat is None else resized_map(heat.detach().float().cpu().numpy(), size)
    parts = None if numbers is None or values is None else _nearest(numbers, size)
    what = f"{'as large as its file' if at_size else 'as the model reads it'}, {' x '.join(map(str, size))}"
    if len(shown) not in (1, 3):
        what += f", the first of {len(shown)} channels"
    rgb = shades(shown)
    if len(size) == 2:
        return Overlaid((_plane("", rgb, hot, parts, values, (1.0, 1.0)),), what)
    peak = _peak(hot, parts, values, size)
    apart = spacing if spacing is not None and len(spacing) == 3 else (1.0, 1.0, 1.0)
    planes = []
    for axis in (2, 1, 0):
        rest = [a for a in range(3) if a != axis]
        name = _PLANES.get((directions or "   ")[axis], _AXES[axis])
        title = f"{name} {peak[axis] + 1} of {size[axis]}"
        at: tuple[slice | int, ...] = (*(slice(None),) * axis, peak[axis])
        of_map, of_parts = None if hot is None else hot[at], None if parts is None else parts[at]
        planes.append(_plane(title, rgb[at], of_map, of_parts, values, (apart[rest[0]], apart[rest[1]])))
    return Overlaid(tuple(planes), f"{what}, cut at the strongest place of the map", True)


def _from_file(
    source: Source, path: Path, pixels: NDArray[Any], spacing: tuple[float, ...] | None
) -> tuple[NDArray[Any], tuple[float, ...] | None, str | None, bool]:
    """Pixels, spacing and directions at the file's size; as they were where it cannot be had."""
    try:
        larger = source.at_file_size(path)
        volume = larger.volume if isinstance(larger, StackSource) else larger
        orientation = volume.orientation if isinstance(volume, VolumeSource) else None
        if larger is source or math.prod(larger.spec.size) > MOST_VOXELS:
            return pixels, spacing, orientation, False
        decoded = larger.decode(path)
    except (OSError, ValueError):  # it was read before: what has changed since is no reason to end
        return pixels, spacing, None, False
    if isinstance(larger, ImageSource) and larger.order == "bgr":
        decoded = decoded[::-1]
    return decoded, larger.spec.spacing or spacing, orientation, True


def _nearest(numbers: torch.Tensor, size: tuple[int, ...]) -> NDArray[np.int64]:
    resized = F.interpolate(numbers.double()[None, None].cpu(), size=size, mode="nearest-exact")
    result: NDArray[np.int64] = resized[0, 0].long().numpy()
    return result


def shades(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """``(*size, 3)`` uint8 of ``(channels, *size)``: bytes as they are, other numbers between their first and last
    percent.
    """
    channels = pixels if len(pixels) in (1, 3) else pixels[:1]
    if channels.dtype != np.uint8:
        x = channels.astype(np.float32)
        low, high = np.percentile(x, (1, 99))
        if x.min() >= 0 and x.max() <= 1 and len(channels) == 3:
            low, high = 0.0, 1.0  # colors
        channels = (255 * np.clip((x - low) / max(float(high - low), 1e-12), 0, 1)).astype(np.uint8)
    return np.moveaxis(np.broadcast_to(channels, (3, *channels.shape[1:])), 0, -1)


def _peak(
    heat: Layer | None, numbers: NDArray[np.int64] | None, values: NDArray[np.float64] | None, size: tuple[int, ...]
) -> tuple[int, ...]:
    """The strongest place of the map; without a map the middle of the strongest region, or of the volume."""
    if heat is not None and float(heat.max()) > 0:
        return tuple(int(i) for i in np.unravel_index(int(heat.argmax()), size))
    if numbers is not None and values is not None and np.abs(values).max() > 0:
        inside = np.argwhere(numbers == np.abs(values).argmax())
        return tuple(int(i) for i in np.median(inside, axis=0))
    return tuple(n // 2 for n in size)


def _plane(
    title: str,
    rgb: NDArray[np.uint8],
    heat: Layer | None,
    numbers: NDArray[np.int64] | None,
    values: NDArray[np.float64] | None,
    pixel: tuple[float, float],
) -> Plane:
    height, width = rgb.shape[:2]
    most = max(height, width)
    if most > LARGEST:
        size = (max(1, round(height * LARGEST / most)), max(1, round(width * LARGEST / most)))
        x = torch.from_numpy(np.array(rgb)).movedim(-1, 0)[None].float()
        small = F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=True)
        rgb = small[0].movedim(0, -1).round().clamp(0, 255).byte().numpy()
        heat = None if heat is None else resized_map(heat, size)
        numbers = None if numbers is None else _nearest(torch.from_numpy(numbers), size)
        pixel = (pixel[0] * height / size[0], pixel[1] * width / size[1])
    contributions = None if numbers is None or values is None else values[numbers].astype(np.float32)
    return Plane(title, np.ascontiguousarray(rgb), heat, contributions, numbers, pixel)
