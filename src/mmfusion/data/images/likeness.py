"""Images that are nearly the same: difference hashes of small grey pictures, and their distances."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

SIDE = 16
"""Rows and columns of a hash."""
BITS = SIDE * SIDE

_AT_ONCE = 1024
_FLAT = 1e-6


class Hashes(NamedTuple):
    """Hashes of images.

    Attributes:
        signs: Shape ``(n, BITS)`` float32, 1 or -1: whether a place is brighter than the next one to its left.
        thumbnails: Shape ``(n, SIDE * (SIDE + 1))`` float32, grey, of mean 0 and length 1; 0 for an image of one value.
    """

    signs: Tensor
    thumbnails: Tensor

    @property
    def flat(self) -> NDArray[np.bool_]:
        """Whether an image has one value, so that its hash says nothing; shape ``(n,)``."""
        return np.asarray((self.thumbnails == 0).all(dim=1).numpy())


def hashes(images: Tensor) -> Hashes:
    """Hashes of images of any size.

    Args:
        images: Shape ``(n, channels, height, width)`` or ``(n, channels, height, width, slices)``, float. Of volumes
            the mean over the slices is hashed.
    """
    grey = images.float().mean(dim=1, keepdim=True)
    if grey.dim() == 5:
        grey = grey.mean(dim=-1)
    small = F.adaptive_avg_pool2d(grey, (SIDE, SIDE + 1))[:, 0]
    centered = small.flatten(1) - small.flatten(1).mean(dim=1, keepdim=True)
    length = centered.norm(dim=1, keepdim=True)
    thumbnails = torch.where(length > _FLAT, centered / length.clamp_min(_FLAT), 0.0)
    return Hashes(torch.where(small.diff(dim=2).flatten(1) > 0, 1.0, -1.0), thumbnails)


def nearest(first: Hashes, second: Hashes, apart: Tensor | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The most similar image of a second set for each of a first.

    Args:
        first: Of ``n`` images.
        second: Of ``m`` images, at least one.
        apart: Shape ``(n + m,)`` int64, a number for each image of both sets: those of one number are not compared.
            None: all are.

    Returns:
        Position in the second set and number of differing bits, shape ``(n,)`` each; ``BITS + 1`` bits if none is
        compared.
    """
    places, distances = [], []
    n = len(first.signs)
    for start in range(0, n, _AT_ONCE):
        rows = slice(start, min(start + _AT_ONCE, n))
        bits = (BITS - first.signs[rows] @ second.signs.T) / 2
        if apart is not None:
            bits[apart[rows][:, None] == apart[n:][None]] = BITS + 1
        least = bits.min(dim=1)
        places.append(least.indices.numpy())
        distances.append(least.values.round().long().numpy())
    return np.concatenate(places).astype(np.int64), np.concatenate(distances).astype(np.int64)
