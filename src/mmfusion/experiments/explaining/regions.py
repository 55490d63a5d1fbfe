"""Regions of a case's image, and how much is tried with images of a size."""

import math

import torch
from torch import Tensor

from mmfusion.explain import grid_regions, superpixels

_POSITIONS_AT_ONCE = 2**20
"""Pixels or voxels that go through the model at once."""


def regions_of(image: Tensor, n: int) -> tuple[Tensor, str]:
    """About n superpixels; boxes in a volume, whose superpixels are hard to see in its planes, or without scikit-image.

    Args:
        image: Shape ``(channels, *size)``.
        n: At least 1.

    Returns:
        Numbers from 0 without gaps, shape ``size`` int64; and what they are, in words.
    """
    size, what = tuple(image.shape[1:]), "boxes"
    if len(size) == 2:
        try:
            return torch.unique(superpixels(image.float().cpu(), n), return_inverse=True)[1], "superpixels, SLIC"
        except ImportError:
            what = "boxes: scikit-image is not installed"
    side = max(1, round(n ** (1 / len(size))))
    return grid_regions(size, tuple(min(side, length) for length in size)), what


def batch_size(positions: int) -> int:
    """Cases at once, for images of so many positions."""
    return max(1, min(256, _POSITIONS_AT_ONCE // max(1, positions)))


def n_orders(positions: int) -> int:
    """Random orders for the regions of images of so many positions: fewer where each costs more."""
    return 32 if positions <= 2**14 else 16 if positions <= 2**17 else 8


def n_references(positions: int, most: int) -> int:
    """Training cases whose images are kept in memory at once, with their maps."""
    return max(16, min(most, 12 * 2**20 // max(1, positions)))


def n_embedded(positions: int) -> int:
    """Training cases that are embedded, among which the most similar ones are found."""
    return max(100, min(1000, 2**26 // max(1, positions)))


def n_in_cohort(positions: int, most: int, *, apart: bool) -> int:
    """Cases of a cohort: fewer where the encoders run for each coalition of columns.

    Args:
        positions: Of the images of a case.
        most: What was asked for.
        apart: Whether encoders need not run for each.
    """
    return most if apart or positions <= 2**14 else min(most, 16 if positions <= 2**17 else 8)


def n_measured(positions: int) -> int:
    """Cases on which the faithfulness of maps is measured."""
    return 16 if positions <= 2**14 else 8 if positions <= 2**17 else 4


def positions(sizes: list[tuple[int, ...]]) -> int:
    """Of the images of a case together; 0 without any."""
    return sum(math.prod(size) for size in sizes)
