"""Drawing of brain tumours in three MRI sequences that carry two cues and otherwise vary at random.

The coarse cue is the position of a tumor's necrotic core: in its center, or at a side. T1, where it is dark, and T2,
where it is bright, show it; ADC does not. The fine cue is the direction in which the tumor's meshes are elongated:
along the slice's height, or its width. T2 and ADC show it; in T1 both waves of the mesh are equally strong. Neither
changes the distribution of voxels: the core has the same shape and depth at each position, and the two meshes are
rotations of each other. Everything else (head, cerebrospinal fluid, position and size of tumor and edema, coil,
contrast, noise) is drawn independently of the cues. The three sequences of a case are aligned.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.synthetic.lesions import Uniform, interpolation_weights

Floats = NDArray[np.floating[Any]]

SEQUENCES = ("t1", "t2", "adc")
SHOW_COARSE = ("t1", "t2")
SHOW_FINE = ("t2", "adc")
BOX = (100.0, 100.0, 120.0)
"""Size along height, width and slices in millimeters: 128 x 128 x 24 voxels of 0.8 x 0.8 x 5."""

SHIFT = 0.125
"""Largest distance of a tumor from the box's center along each axis, in half boxes: half a cell of an 8x8 grid, so that
a core in the center of its tumor is at each position in a cell as often as one at the side."""
CORE, CORE_DEPTH = 0.4, 0.6
"""Half axes of the core within the slice and across slices, in units of the tumor's."""
CYCLES = 8.0
"""Waves of the mesh across the slice: one in each cell of an 8x8 grid, over which they average out."""
TILT = np.pi / 16
"""Largest rotation of the mesh from the slice's axes, in either direction."""
MESH = 0.25
"""Share of the weaker wave, which makes meshes of streaks."""

LEVELS = {
    # fluid, tissue, contrast of grey and white matter, skull, tumour, core, mesh, oedema
    "t1": (0.14, 0.5, 0.07, 0.75, 0.46, -0.3, 0.12, -0.1),
    "t2": (0.85, 0.42, -0.07, 0.3, 0.5, 0.3, 0.2, 0.22),
    "adc": (0.9, 0.3, -0.03, 0.1, 0.42, 0.0, 0.2, 0.2),
}


def draw(
    coarse: NDArray[np.bool_],
    fine: NDArray[np.bool_],
    axes: Floats,
    rim: Floats,
    size: tuple[int, int, int],
    rng: np.random.Generator,
) -> dict[str, NDArray[np.uint8]]:
    """Draw the three sequences of some cases.

    Args:
        coarse: Shape ``(n,)``; True: the core is at a side.
        fine: Shape ``(n,)``; True: the mesh is elongated along the width, False: along the height.
        axes: Shape ``(n, 2)``; half axes of the tumor within the slice, in millimeters.
        rim: Shape ``(n,)``; width of the edema around the tumor in the slice, in millimeters.
        size: Voxels along height, width and slices.
        rng: Source of everything else.

    Returns:
        By sequence, shape ``(n, 1, *size)``.
    """
    return _drawn(coarse, fine, axes, rim, size, rng)[0]


def draw_masks(
    coarse: NDArray[np.bool_],
    fine: NDArray[np.bool_],
    axes: Floats,
    rim: Floats,
    size: tuple[int, int, int],
    rng: np.random.Generator,
) -> dict[str, NDArray[np.bool_]]:
    """Where the cues are that each sequence of :func:`draw` shows: in T1 the core, in T2 and ADC the tumor.

    T2's tumor has the core in it, and the mesh fills it.

    Args:
        coarse: As of :func:`draw`.
        fine: As there.
        axes: As there.
        rim: As there.
        size: As there.
        rng: In the state that :func:`draw` was given it in.

    Returns:
        By sequence, shape ``(n, *size)``.
    """
    return _drawn(coarse, fine, axes, rim, size, rng)[1]


def _drawn(
    coarse: NDArray[np.bool_],
    fine: NDArray[np.bool_],
    axes: Floats,
    rim: Floats,
    size: tuple[int, int, int],
    rng: np.random.Generator,
) -> tuple[dict[str, NDArray[np.uint8]], dict[str, NDArray[np.bool_]]]:
    """The sequences, and where their cues are."""
    uniform = Uniform(rng, len(coarse))
    v, u, s = _grid(size)
    brain, skull, fluid, folds = _brain(v, u, s, uniform, rng, size)

    # Tumor coordinates: shifted, rotated within the slice, in units of the half axes; slices separate from the plane.
    turn = uniform(0, 2 * np.pi, 1, 1, 1)
    half = (axes / (BOX[0] / 2)).astype(np.float32)[..., None, None, None]
    deep = uniform(0.55, 0.7, 1, 1, 1)
    du, dv = u - uniform(-SHIFT, SHIFT, 1, 1, 1), v - uniform(-SHIFT, SHIFT, 1, 1, 1)
    x = np.cos(turn) * du + np.sin(turn) * dv
    y = np.cos(turn) * dv - np.sin(turn) * du
    z = (s - uniform(-SHIFT, SHIFT, 1, 1, 1)) / deep
    plane = (x / half[:, 0]) ** 2 + (y / half[:, 1]) ** 2
    inside = _soft(np.sqrt(plane + z * z), 9)
    reach = (2 * rim / BOX[0]).astype(np.float32)[:, None, None, None]
    halo = np.sqrt((x / (half[:, 0] + reach)) ** 2 + (y / (half[:, 1] + reach)) ** 2 + (z / (1 + reach / deep)) ** 2)
    oedema = _soft(halo, 12) * brain
    angle = uniform(0, 2 * np.pi, 1, 1, 1)
    offset = np.where(coarse[:, None, None, None], uniform(0.36, 0.44, 1, 1, 1), uniform(0.0, 0.06, 1, 1, 1))
    away = (x / half[:, 0] - offset * np.cos(angle)) ** 2 + (y / half[:, 1] - offset * np.sin(angle)) ** 2
    core = np.maximum(np.float32(0), 1 - away / CORE**2 - (z / CORE_DEPTH) ** 2)
    core *= uniform(0.8, 1.2, 1, 1, 1)
    strong, weak = _waves(fine, u, v, z, uniform)
    # Away from the tumor's border, which would cut waves in half.
    within = np.maximum(np.float32(0), 1 - plane) * np.maximum(np.float32(0), 1 - z * z)
    within = np.sqrt(within)

    drawn = {}
    for name in SEQUENCES:
        water, tissue, contrast, bone, solid, necrosis, mesh, swelling = LEVELS[name]
        share = np.float32(MESH if name in SHOW_FINE else 0.5)
        level = tissue + contrast * folds + (water - tissue) * fluid + uniform(0.7, 1.3, 1, 1, 1) * swelling * oedema
        level *= brain
        level += bone * skull
        lump = solid * uniform(0.9, 1.1, 1, 1, 1) + contrast * 0.4 * folds
        lump += mesh * uniform(0.8, 1.2, 1, 1, 1) * within * ((1 - share) * strong + share * weak)
        if name in SHOW_COARSE:
            lump += necrosis * core
        level += inside * (lump - level)
        coil = 1 + uniform(-0.1, 0.1, 1, 1, 1) * u + uniform(-0.1, 0.1, 1, 1, 1) * v + uniform(-0.06, 0.06, 1, 1, 1) * s
        level *= coil * uniform(0.85, 1.0, 1, 1, 1)
        level += np.float32(0.02) * rng.standard_normal(level.shape, dtype=np.float32)
        level *= 255
        # 0.5 is added and the fraction cut off: rounding.
        drawn[name] = np.clip(level + 0.5, 0, 255).astype(np.uint8)[:, None]
    tumor = inside >= 0.5
    return drawn, {name: tumor if name in SHOW_FINE else tumor & (core > 0) for name in SEQUENCES}


def _grid(size: tuple[int, int, int]) -> tuple[Floats, Floats, Floats]:
    """Coordinates from -1 to 1 along height, width and slices, which broadcast with ``(n, h, w, d)``."""
    v, u, s = ((np.arange(n, dtype=np.float32) + 0.5) * (2 / n) - 1 for n in size)
    return v[None, :, None, None], u[None, None, :, None], s[None, None, None, :]


def _brain(
    v: Floats, u: Floats, s: Floats, uniform: Uniform, rng: np.random.Generator, size: tuple[int, int, int]
) -> tuple[Floats, Floats, Floats, Floats]:
    """Shares of brain and of skull, of fluid within the brain, and the folds of grey and white matter."""
    # The box around the tumor shows a part of the head, whose center is on any side.
    angle, far = uniform(0, 2 * np.pi, 1, 1, 1), uniform(0.3, 0.6, 1, 1, 1)
    du, dv, ds = u - far * np.cos(angle), v - far * np.sin(angle), s - uniform(-0.3, 0.1, 1, 1, 1)
    r = np.sqrt((du * du + dv * dv) / uniform(1.3, 1.6, 1, 1, 1) + (ds / 1.5) ** 2)
    brain = _soft(r, 14)
    skull = np.exp(-(((r - 1.14) / 0.05) ** 2))
    folds = _smooth(rng.standard_normal((len(angle), 9, 9, 5)).astype(np.float32), size)
    # Ventricles: a pair of lenses next to the head's center; furrows: where folds are deepest.
    tilt = uniform(0, 2 * np.pi, 1, 1, 1)
    along, across = np.cos(tilt) * du + np.sin(tilt) * dv, np.abs(np.cos(tilt) * dv - np.sin(tilt) * du)
    ventricle = _soft(np.sqrt((along / 0.35) ** 2 + ((across - 0.12) / 0.09) ** 2 + (ds / 0.5) ** 2), 5)
    furrow = np.maximum(np.float32(0), np.minimum(np.float32(1), (folds - 1.3) * 2))
    return brain, skull, np.maximum(ventricle, furrow), folds


def _waves(across: NDArray[np.bool_], u: Floats, v: Floats, z: Floats, uniform: Uniform) -> tuple[Floats, Floats]:
    """Two crossing waves, the first along the slice's height or its width, whose phases drift from slice to slice.

    Exchanging height and width transforms one case into the other, so that no statistic of voxels distinguishes them.
    """
    angle = np.where(across[:, None, None, None], np.pi / 2, 0).astype(np.float32) + uniform(-TILT, TILT, 1, 1, 1)
    frequency = np.pi * CYCLES * uniform(0.97, 1.03, 1, 1, 1)
    c, t = frequency * np.cos(angle), frequency * np.sin(angle)

    def wave(phase: Floats) -> Floats:
        # cos(phase + drift): the phase depends on the plane, the drift on the slice.
        phase, drift = phase + uniform(0, 2 * np.pi, 1, 1, 1), uniform(-0.8, 0.8, 1, 1, 1) * z
        summed: Floats = np.cos(phase) * np.cos(drift) - np.sin(phase) * np.sin(drift)
        return summed

    return wave(c * u + t * v), wave(c * v - t * u)


def _soft(r: Floats, steepness: float) -> Floats:
    """1 where ``r`` is below 1, 0 where it is above, soft between."""
    share: Floats = 0.5 + 0.5 * np.tanh((1 - r) * np.float32(steepness))
    return share


def _smooth(coarse: Floats, size: tuple[int, int, int]) -> Floats:
    """Enlarge a small grid to volumes by smooth interpolation, shape ``(n, *size)``."""
    rows, columns, slices = (interpolation_weights(n, to) for n, to in zip(coarse.shape[1:], size))
    # One axis after another, the last one (slices, the fewest) first.
    grown = coarse @ slices.T
    grown = np.einsum("wj,nijd->niwd", columns, grown, optimize=True)
    n, i, w, d = grown.shape
    smooth: Floats = (rows @ grown.reshape(n, i, w * d)).reshape(n, len(rows), w, d)
    return smooth
