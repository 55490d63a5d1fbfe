"""Drawing of skin lesions that carry two cues and otherwise vary at random.

The coarse cue is the position of a lesion's dark blotch: in its center, or at a side. The fine cue is the direction
in which the meshes of its pigment network are elongated: along the image's height, or its width. Neither changes the
distribution of colors: the blotch has the same shape and depth at each position, and the two networks are rotations of
each other. Everything else (skin, colors, contrast, size, outline, light, blur, hairs, noise) is drawn independently of
the cues.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

VIEWS = ("derm", "clinic")


@dataclass(frozen=True)
class Uniform:
    """Uniform random numbers of some cases, called with two bounds and a shape: float32 ``(n, *shape)``."""

    rng: np.random.Generator
    n: int

    def __call__(self, low: float, high: float, *shape: int) -> Floats:
        return self.rng.uniform(low, high, (self.n, *shape)).astype(np.float32)


@dataclass(frozen=True)
class Style:
    """Differences of the two views; each pair is the range of a uniform draw.

    Attributes:
        zoom: Size of the lesion in the image.
        blur: Standard deviation of the lens blur, in pixels of an image of 64.
        light: Slope of the illumination across the image, relative.
        vignette: Darkening of the corners, relative.
        hairs: Largest number of hairs in an image.
        flush: Redness of the skin in this view.
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
"""Radius of a lesion at zoom 1, in units of half the image."""
SHIFT = 0.125
"""Largest distance of a lesion from the image's center along each axis: half a cell of an 8x8 grid, so that a blotch in
the center of its lesion is at each position in a cell as often as one at the side."""
BLOTCH = 0.4
"""Radius of the blotch, in units of the lesion's."""
CYCLES = 16.0
"""Waves of the texture across the image: two in each cell of an 8x8 grid, over which they average out."""
TILT = np.pi / 10
"""Largest rotation of the texture from the image's axes, in either direction."""
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
        coarse: Shape ``(n,)``; True: the blotch is at a side.
        fine: Shape ``(n,)``; True: the network is elongated along the width, False: along the height.
        size: Pixels along each side.
        rng: Source of everything else.

    Returns:
        By view, shape ``(n, 3, size, size)``.
    """
    lesions = _Lesions(coarse, fine, rng)
    return {name: _view(lesions, STYLES[name], size, rng)[0] for name in VIEWS}


def draw_masks(
    coarse: NDArray[np.bool_], fine: NDArray[np.bool_], size: int, rng: np.random.Generator
) -> dict[str, NDArray[np.bool_]]:
    """Where the cues are in the images of :func:`draw`: the lesions, which the network fills and the blotch lies in.

    Args:
        coarse: As of :func:`draw`.
        fine: As there.
        size: As there.
        rng: In the state that :func:`draw` was given it in.

    Returns:
        By view, shape ``(n, size, size)``.
    """
    lesions = _Lesions(coarse, fine, rng)
    return {name: _view(lesions, STYLES[name], size, rng)[1] for name in VIEWS}


class _Lesions:
    """Properties of lesions in both views; the shape ``(n, ...)`` of each attribute broadcasts with ``(n, h, w)``."""

    def __init__(self, coarse: NDArray[np.bool_], fine: NDArray[np.bool_], rng: np.random.Generator) -> None:
        self.n = n = len(coarse)
        uniform = Uniform(rng, n)
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


def _view(
    lesions: _Lesions, style: Style, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """One view of the lesions, shape ``(n, 3, size, size)``, and where they are, ``(n, size, size)``."""
    uniform = Uniform(rng, lesions.n)
    axis: Floats = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
    v, u = axis[None, :, None], axis[None, None, :]
    zoom, turn = uniform(*style.zoom, 1, 1), uniform(0, 2 * np.pi, 1, 1)
    # Lesion coordinates: shifted, rotated, in units of the lesion's radius.
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
    return pixels, inside >= 0.5


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
    """A dark spot with ``BLOTCH`` of the lesion's radius, so that it fits on both sides of the center."""
    fall: Floats = np.maximum(np.float32(0), 1 - (x * x + y * y) / (BLOTCH * BLOTCH))
    return fall * fall


def _texture(across: NDArray[np.bool_], u: Floats, v: Floats, clouds: Floats, uniform: Uniform) -> Floats:
    """Meshes that are elongated along the image's height or its width, between -1 and 1.

    A strong wave across a weak one. Exchanging height and width transforms one into the other, so that no statistic of
    the pixels' values distinguishes them.
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
    """Dark curved lines across the image, each present in half of the images."""
    absorbed: Floats = np.zeros_like(u + v)
    for _ in range(most):
        angle = uniform(0, np.pi, 1, 1)
        along, across = np.cos(angle) * u + np.sin(angle) * v, np.cos(angle) * v - np.sin(angle) * u
        distance = across - uniform(-0.9, 0.9, 1, 1) - uniform(-0.3, 0.3, 1, 1) * along * along
        present = uniform(0, 1, 1, 1) < 0.5
        absorbed = absorbed + present * uniform(0.4, 0.9, 1, 1) * np.maximum(0, 1 - np.abs(distance) * 45)
    return absorbed


def _smooth(coarse: Floats, size: int) -> Floats:
    """Enlarge a small grid to images by smooth interpolation, shape ``(n, size, size)``."""
    weights = interpolation_weights(coarse.shape[-1], size)
    smooth: Floats = weights @ coarse @ weights.T
    return smooth


def interpolation_weights(n: int, to: int) -> Floats:
    """Weight of each of ``n`` numbers at each of ``to`` positions, shape ``(to, n)``; the variance is kept."""
    distance = np.linspace(0, n - 1, to)[:, None] - np.arange(n)[None, :]
    weights = np.exp(-0.5 * (distance / 0.6) ** 2)
    scaled: Floats = (weights / np.sqrt((weights**2).sum(axis=1, keepdims=True))).astype(np.float32)
    return scaled


def _blur(sigma: Floats, size: int) -> Floats:
    """Matrices that blur along one axis, shape ``(n, size, size)``; rows sum to 1, so that edges are not darkened."""
    distance = np.subtract.outer(np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32))
    weights = np.exp(-0.5 * (distance[None] / sigma[:, None, None]) ** 2)
    # Subnormal numbers make the product ten times slower.
    weights[weights < 1e-6] = 0
    blur: Floats = weights / weights.sum(axis=-1, keepdims=True)
    return blur
