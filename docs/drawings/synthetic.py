"""What the synthetic datasets look like: ``python docs/drawings/synthetic.py`` writes a picture of each beside itself.

A row for each combination of the two cues, in the order of :data:`COMBINATIONS`; what else is random is drawn anew.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmfusion.data.synthetic import lesions, tumours

FOLDER = Path(__file__).parent
COMBINATIONS = ((0, 0), (0, 1), (1, 0), (1, 1))
"""Coarse cue, fine cue."""
GAP = 4


def main() -> None:
    """Write all pictures."""
    for name, picture in PICTURES.items():
        Image.fromarray(picture()).save(FOLDER / f"{name}.png", optimize=True)


def derm7pt() -> NDArray[np.uint8]:
    """Both views of a lesion a row, twice, at 64 pixels, enlarged."""
    coarse, fine = np.array(COMBINATIONS, dtype=bool).T
    rows: list[list[NDArray[np.uint8]]] = [[] for _ in COMBINATIONS]
    for seed in (3, 4):
        drawn = lesions.draw(coarse, fine, 64, np.random.default_rng(seed))
        for i, row in enumerate(rows):
            row += [np.moveaxis(drawn[view][i], 0, -1) for view in lesions.VIEWS]
    return _grid([[_enlarged(image, 2) for image in row] for row in rows])


def men() -> NDArray[np.uint8]:
    """The middle slice of each sequence a row, at 128 voxels, then at the default of 32."""
    coarse, fine = np.array(COMBINATIONS, dtype=bool).T
    rows: list[list[NDArray[np.uint8]]] = [[] for _ in COMBINATIONS]
    for size in ((128, 128, 24), (32, 32, 8)):
        rng = np.random.default_rng(8)
        axes, rim = rng.uniform(26, 32, (4, 2)), rng.uniform(4, 12, 4)
        drawn = tumours.draw(coarse, fine, axes, rim, size, rng)
        for i, row in enumerate(rows):
            slices = [drawn[name][i, 0, :, :, size[2] // 2] for name in tumours.SEQUENCES]
            row += [np.repeat(_enlarged(image, 128 // size[0])[..., None], 3, axis=-1) for image in slices]
    return _grid(rows)


PICTURES = {"synthetic_derm7pt": derm7pt, "synthetic_men": men}


def _enlarged(image: NDArray[np.uint8], times: int) -> NDArray[np.uint8]:
    """Each pixel as a square."""
    return image.repeat(times, axis=0).repeat(times, axis=1)


def _grid(rows: list[list[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """Pictures of one size, white between them."""
    height, width = rows[0][0].shape[:2]
    grid = np.full((len(rows) * (height + GAP) - GAP, len(rows[0]) * (width + GAP) - GAP, 3), 255, dtype=np.uint8)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            grid[i * (height + GAP) :, j * (width + GAP) :][:height, :width] = image
    return grid


if __name__ == "__main__":
    main()
