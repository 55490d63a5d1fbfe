"""Maps and regions laid over an image, in colors that color-blind readers can tell apart."""

import base64
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmfusion.comparison.report.palette import SERIES
from mmfusion.experiments.explaining.planes import Layer, Plane
from mmfusion.utils.optional import need

SHOWN = 480
"""Pixels of the longer side of a panel on a page."""
AGAINST, FOR = SERIES[0], SERIES[1]
"""Colors of what speaks against the explained class and for it: blue and orange."""
HEAT = ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725")
"""From no evidence to the most: viridis, which is as even in grey."""
_MOST_NUMBERS = 4
_LEAST_LABELLED = 160


class Panel(NamedTuple):
    """A picture on a page.

    Attributes:
        title: In a few words.
        kind: ``image``, ``map`` or ``regions``.
        image: Of Pillow.
    """

    title: str
    kind: str
    image: Any


def panels(plane: Plane, heat_most: float, region_most: float, longest: int = SHOWN) -> list[Panel]:
    """The image of a plane, then with its map and its regions, as far as there are such.

    Args:
        plane: One of a case's.
        heat_most: Value of the map with the strongest color; 0 for a map that is empty.
        region_most: Size of a contribution with the strongest color.
        longest: Pixels of the longer side.
    """
    height, width = _size(plane, longest)
    base = _resized(plane.pixels, height, width, smooth=True)
    title = plane.title
    found = [Panel(title or "image", "image", _image(base))]
    if plane.heat is not None:
        found.append(Panel("map", "map", _image(_with_heat(base, _layer(plane.heat, height, width), heat_most))))
    if plane.contributions is not None and plane.numbers is not None:
        values = _layer(plane.contributions, height, width, smooth=False)
        numbers = np.rint(_layer(plane.numbers.astype(np.float32), height, width, smooth=False)).astype(np.int64)
        picture = _image(_with_regions(base, values, numbers, region_most))
        if min(height, width) >= _LEAST_LABELLED:
            _number(picture, values, numbers)
        found.append(Panel("regions", "regions", picture))
    return found


def most_of(planes: Sequence[Plane]) -> tuple[float, float]:
    """The largest heat and the largest size of a contribution, over the planes of an image."""
    heat = [float(plane.heat.max()) for plane in planes if plane.heat is not None and plane.heat.size]
    values = [float(np.abs(plane.contributions).max()) for plane in planes if plane.contributions is not None]
    return max(heat, default=0.0), max(values, default=0.0)


def as_png(image: Any) -> bytes:
    """The file of an image of Pillow."""
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


def data_address(image: Any) -> str:
    """An image inside a page."""
    return "data:image/png;base64," + base64.b64encode(as_png(image)).decode()


def small_image(pixels: NDArray[np.uint8], side: int = 96) -> Any:
    """A thumbnail of pixels ``(height, width, 3)``."""
    plane = Plane("", pixels, None, None, None)
    height, width = _size(plane, side)
    return _image(_resized(pixels, height, width, smooth=True))


def _size(plane: Plane, longest: int) -> tuple[int, int]:
    height, width = plane.pixels.shape[0] * plane.pixel[0], plane.pixels.shape[1] * plane.pixel[1]
    scale = longest / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _image(rgb: NDArray[np.float32]) -> Any:
    return need("PIL.Image", "bench").fromarray(np.rint(rgb).clip(0, 255).astype(np.uint8))


def _resized(pixels: NDArray[np.uint8], height: int, width: int, *, smooth: bool) -> NDArray[np.float32]:
    pil: Any = need("PIL.Image", "bench")
    way = pil.Resampling.BICUBIC if smooth else pil.Resampling.NEAREST
    return np.asarray(pil.fromarray(pixels).resize((width, height), way), dtype=np.float32)


def _layer(values: Layer, height: int, width: int, *, smooth: bool = True) -> Layer:
    pil: Any = need("PIL.Image", "bench")
    way = pil.Resampling.BILINEAR if smooth else pil.Resampling.NEAREST
    image = pil.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(image.resize((width, height), way), dtype=np.float32)


def _with_heat(base: NDArray[np.float32], heat: Layer, most: float) -> NDArray[np.float32]:
    share = np.clip(heat / most, 0, 1) if most > 0 else np.zeros_like(heat)
    stops = np.array([_rgb(color) for color in HEAT])
    color = np.stack([np.interp(share, np.linspace(0, 1, len(stops)), stops[:, c]) for c in range(3)], -1)
    return _mixed(base, color, 0.15 + 0.5 * share)


def _with_regions(
    base: NDArray[np.float32], values: Layer, numbers: NDArray[np.int64], most: float
) -> NDArray[np.float32]:
    share = np.clip(values / most, -1, 1) if most > 0 else np.zeros_like(values)
    color = np.where((share < 0)[..., None], np.array(_rgb(AGAINST)), np.array(_rgb(FOR)))
    mixed = _mixed(base, color, 0.55 * np.abs(share))
    border = np.zeros(numbers.shape, dtype=np.bool_)
    border[:, 1:] |= numbers[:, 1:] != numbers[:, :-1]
    border[1:] |= numbers[1:] != numbers[:-1]
    mixed[border] = 255
    return mixed


def _number(image: Any, values: Layer, numbers: NDArray[np.int64]) -> None:
    """Write the numbers of the regions with the largest contributions into them."""
    draw = need("PIL.ImageDraw", "bench").Draw(image)
    font = need("PIL.ImageFont", "bench").load_default(size=18)
    regions = np.unique(numbers)
    sizes = [float(np.abs(values[numbers == k]).max()) for k in regions]
    for k in regions[np.argsort(sizes)[::-1][:_MOST_NUMBERS]]:
        inside = np.argwhere(numbers == k)
        # The pixel of the region that is nearest to its middle: a bent region does not have its middle.
        y, x = inside[((inside - inside.mean(0)) ** 2).sum(1).argmin()]
        at = (float(np.clip(x, 12, image.width - 12)), float(np.clip(y, 12, image.height - 12)))
        draw.text(at, str(k), fill="white", stroke_width=2, stroke_fill="black", anchor="mm", font=font)


def _mixed(base: NDArray[np.float32], color: NDArray[np.float64], share: NDArray[Any]) -> NDArray[np.float32]:
    return ((1 - share[..., None]) * base + share[..., None] * color).astype(np.float32)


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
