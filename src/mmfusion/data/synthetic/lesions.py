"""Drawing of skin lesions that carry two cues and otherwise vary at random.

The coarse cue is where the dark blotch of a lesion lies: in its middle, or off to a side. The fine cue is the direction
in which the meshes of its pigment network are drawn out: along the picture's height, or its width. Both come without
any difference in the distribution of colours: the blotch has the same shape and depth wherever it lies, and the two
networks are the same one turned. Everything else (skin, colours, contrast, size, outline, light, blur, hairs, noise) is
drawn apart from the cues.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

VIEWS = ("derm", "clinic")


class Uniform(Protocol):
    """Draws ``(n, *shape)`` numbers, one set a lesion, evenly between two bounds."""

    def __call__(self, low: float, high: float, *shape: int) -> Floats: ...


def _uniform(rng: np.random.Generator, n: int) -> Uniform:
    def draw_between(low: float, high: float, *shape: int) -> Floats:
        return rng.uniform(low, high, (n, *shape)).astype(np.float32)

    return draw_between


@dataclass(frozen=True)
class Style:
    """What tells the two views apart; each pair is the range of a uniform draw.

    Attributes:
        zoom: Size of the lesion in the picture.
        blur: Standard deviation of the lens blur, in pixels of a picture of 64.
        light: Slope of the illumination across the picture, relative.
        vignette: Darkening of the corners, relative.
        hairs: Most hairs in a picture.
        flush: Redness that the skin has in this view.
    """

    zoom: tuple[float, float]
    blur: tuple[float, float]
    light: float
    vignette: tuple[float, float]
    hairs: int
    flush: float


STYLES = {
    "derm": Style(zoom=(0.95, 1.1), blur=(0.25, 0.5), light=0.06, vignette=(0.1, 0.35), hairs=2, flush=0.06),
    "clinic": Style(zoom=(0.8, 0.95), blur=(0.4, 0.65), light=0.18, vignette=(0.0, 0.0), hairs=3, flush=0.0),
}
RADIUS = 0.66
"""Of a lesion at zoom 1, in units of half the picture."""
SHIFT = 0.125
"""Largest distance of a lesion from the picture's middle along each axis: half a cell of an 8x8 grid, so that a blotch
in the middle of its lesion falls on every place in a cell as often as one at the side does."""
BLOTCH = 0.4
"""Radius of the blotch, in units of the lesion's."""
CYCLES = 16.0
"""Waves of the texture across the picture. Two for each cell of an 8x8 grid, over which they average out."""
TILT = np.pi / 10
"""Largest turn of the texture away from the picture's axes, either way."""
MESH = 0.3
"""Share of the weaker wave, which makes meshes of streaks."""

LIGHT_SKIN, DARK_SKIN = np.array([[0.93, 0.76, 0.67], [0.68, 0.48, 0.38]], dtype=np.float32)
MELANIN = np.array([0.55, 0.95, 1.15], dtype=np.float32)
"""Absorbance of pigment for red, green and blue."""


def draw(
    coarse: NDArray[np.bool_], fine: NDArray[np.bool_], size: int, rng: np.random.Generator
) -> dict[str, NDArray[np.uint8]]:
    """Draw both views of some lesions.

    Args:
        coarse: Shape ``(n,)``; True: the blotch lies off to a side.
        fine: Shape ``(n,)``; True: the network runs along the width, False: along the height.
        size: Pixels along each side.
        rng: Source of everything else.

    Returns:
        By view, shape ``(n, 3, size, size)``.
    """
    lesions = _Lesions(coarse, fine, rng)
    return {name: _view(lesions, STYLES[name], size, rng) for name in VIEWS}


class _Lesions:
    """What a lesion keeps in both views; every attribute has shape ``(n, ...)`` ready to stand beside ``(n, h, w)``."""

    def __init__(self, coarse: NDArray[np.bool_], fine: NDArray[np.bool_], rng: np.random.Generator) -> None:
        self.n = n = len(coarse)
        uniform = _uniform(rng, n)
        tone = uniform(0, 1, 1)
        self.skin = LIGHT_SKIN * (1 - tone) + DARK_SKIN * tone + uniform(-0.03, 0.03, 3)
        self.pigment = MELANIN * (1 + uniform(-0.15, 0.15, 3))
        self.radius = uniform(0.92, 1.08, 1, 1) * RADIUS
        self.outline = uniform(0.2, 1, 1) * uniform(-1, 1, 4) * np.array([0.1, 0.08, 0.06, 0.05], dtype=np.float32)
        self.outline_turn = uniform(0, 2 * np.pi, 4)
        self.depth = uniform(0.4, 0.75, 1, 1)
        angle = uniform(0, 2 * np.pi, 1, 1)
        offset = np.where(coarse[:, None, None], uniform(0.36, 0.44, 1, 1), uniform(0.0, 0.06, 1, 1))
        self.blotch = (offset * np.cos(angle), offset * np.sin(angle))
        self.blotch_depth = uniform(0.6, 0.95, 1, 1)
        self.fine = fine
        self.texture_depth = uniform(0.25, 0.4, 1, 1)
        self.clouds = rng.standard_normal((n, 6, 6)).astype(np.float32)
        self.clouds_depth = uniform(0.03, 0.12, 1, 1)


def _view(lesions: _Lesions, style: Style, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One view of the lesions, shape ``(n, 3, size, size)``."""
    uniform = _uniform(rng, lesions.n)
    axis: Floats = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
    v, u = axis[None, :, None], axis[None, None, :]
    zoom, turn = uniform(*style.zoom, 1, 1), uniform(0, 2 * np.pi, 1, 1)
    # Lesion coordinates: moved, turned, in units of the lesion's radius.
    scale: Floats = 1 / (zoom * lesions.radius)
    du, dv = (u - uniform(-SHIFT, SHIFT, 1, 1)) * scale, (v - uniform(-SHIFT, SHIFT, 1, 1)) * scale
    x = np.cos(turn) * du + np.sin(turn) * dv
    y = np.cos(turn) * dv - np.sin(turn) * du
    clouds = _smooth(lesions.clouds, size)

    inside = _inside(lesions, x, y)
    pigment = lesions.depth + lesions.clouds_depth * clouds
    pigment += lesions.blotch_depth * _blotch(x - lesions.blotch[0], y - lesions.blotch[1])
    pigment += lesions.texture_depth * _texture(lesions.fine, u, v, clouds, uniform)
    pigment *= inside
    pigment += _hairs(u, v, style.hairs, uniform)

    cast = 1 + uniform(-0.05, 0.05, 3)
    cast[:, 1:] -= style.flush
    light = 1 + uniform(-1, 1, 1, 1) * style.light * u + uniform(-1, 1, 1, 1) * style.light * v
    light = light - uniform(*style.vignette, 1, 1) * np.maximum(0, u * u + v * v - 0.7)
    light *= uniform(0.88, 1.02, 1, 1)
    absorbed = -pigment[:, None] * lesions.pigment[:, :, None, None]
    image = np.exp(absorbed, out=absorbed)
    image *= (lesions.skin * cast)[:, :, None, None]
    image *= light[:, None]
    blur = _blur(uniform(*style.blur) * (size / 64), size)[:, None]
    image = blur @ image @ blur.transpose(0, 1, 3, 2)
    image += 0.012 * rng.standard_normal((lesions.n, 1, size, size), dtype=np.float32)
    image *= 255
    # 0.5 is added and the fraction cut off: rounding.
    pixels: NDArray[np.uint8] = np.clip(image + 0.5, 0, 255).astype(np.uint8)
    return pixels


def _inside(lesions: _Lesions, x: Floats, y: Floats) -> Floats:
    """1 inside the irregular outline, 0 outside, soft between."""
    r = np.sqrt(x * x + y * y) + 1e-6
    real, imaginary = x / r, y / r
    a, b = real, imaginary
    border = np.ones_like(r)
    for k in range(4):
        # (a, b) runs through the powers of the direction as a complex number: cosine and sine of 2, 3, 4, 5 angles.
        a, b = a * real - b * imaginary, a * imaginary + b * real
        weight, turn = lesions.outline[:, k, None, None], lesions.outline_turn[:, k, None, None]
        border += weight * (np.cos(turn) * a + np.sin(turn) * b)
    inside: Floats = 0.5 + 0.5 * np.tanh((border - r) * 9)
    return inside


def _blotch(x: Floats, y: Floats) -> Floats:
    """A dark spot that ends at ``BLOTCH`` of the lesion's radius, so that it has room on either side of the middle."""
    fall: Floats = np.maximum(np.float32(0), 1 - (x * x + y * y) / (BLOTCH * BLOTCH))
    return fall * fall


def _texture(across: NDArray[np.bool_], u: Floats, v: Floats, clouds: Floats, uniform: Uniform) -> Floats:
    """Meshes that are drawn out along the picture's height or its width, in either case between -1 and 1.

    A strong wave across a weak one. Swapping height and width turns the one into the other, so that no statistic of
    the pixels' values can tell them apart.
    """
    angle = np.where(across[:, None, None], np.pi / 2, 0).astype(np.float32) + uniform(-TILT, TILT, 1, 1)
    frequency = 2 * np.pi * CYCLES / 2 * uniform(0.94, 1.06, 1, 1)
    c, s = frequency * np.cos(angle), frequency * np.sin(angle)
    bend = 0.8 * clouds
    strong = np.cos(c * u + s * v + uniform(0, 2 * np.pi, 1, 1) + bend)
    weak = np.cos(c * v - s * u + uniform(0, 2 * np.pi, 1, 1) + bend[:, ::-1])
    mesh: Floats = (1 - MESH) * strong + MESH * weak
    return mesh


def _hairs(u: Floats, v: Floats, most: int, uniform: Uniform) -> Floats:
    """Dark curved lines right across the picture, each there in half of the pictures."""
    absorbed: Floats = np.zeros_like(u + v)
    for _ in range(most):
        angle = uniform(0, np.pi, 1, 1)
        along, across = np.cos(angle) * u + np.sin(angle) * v, np.cos(angle) * v - np.sin(angle) * u
        distance = across - uniform(-0.9, 0.9, 1, 1) - uniform(-0.3, 0.3, 1, 1) * along * along
        there = uniform(0, 1, 1, 1) < 0.5
        absorbed = absorbed + there * uniform(0.4, 0.9, 1, 1) * np.maximum(0, 1 - np.abs(distance) * 45)
    return absorbed


def _smooth(coarse: Floats, size: int) -> Floats:
    """Blow a small grid up to pictures by smooth interpolation, shape ``(n, size, size)``."""
    n = coarse.shape[-1]
    distance = np.linspace(0, n - 1, size)[:, None] - np.arange(n)[None, :]
    weights = np.exp(-0.5 * (distance / 0.6) ** 2)
    weights = (weights / np.sqrt((weights**2).sum(axis=1, keepdims=True))).astype(np.float32)
    smooth: Floats = weights @ coarse @ weights.T
    return smooth


def _blur(sigma: Floats, size: int) -> Floats:
    """Matrices that blur along one axis, shape ``(n, size, size)``; rows sum to 1, so that edges do not darken."""
    distance = np.subtract.outer(np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32))
    weights = np.exp(-0.5 * (distance[None] / sigma[:, None, None]) ** 2)
    # Numbers too small for float32's normal range make the product ten times slower.
    weights[weights < 1e-6] = 0
    blur: Floats = weights / weights.sum(axis=-1, keepdims=True)
    return blur
