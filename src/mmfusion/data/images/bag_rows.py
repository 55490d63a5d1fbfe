"""Bags of images: several rows of a storage per case."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmfusion.data.images.rows import Rows
from mmfusion.tokens import Bag


class BagRows:
    """The images of cases that have several.

    Args:
        images: All images, one case's after another's, shape ``(n_images, channels, *spatial)``.
        sizes: Number of images of each case, shape ``(n,)``; they sum to ``n_images``.

    Raises:
        ValueError: If they do not.
    """

    def __init__(self, images: Tensor | Rows, sizes: Sequence[int] | NDArray[np.int64] | Tensor) -> None:
        self.images = images
        self.sizes = torch.as_tensor(np.asarray(sizes, dtype=np.int64))
        if bool((self.sizes < 0).any()) or int(self.sizes.sum()) != len(images):
            raise ValueError(
                f"BagRows expects sizes that sum to the number of images, {len(images)}, got {int(self.sizes.sum())}"
            )
        self._ends = self.sizes.cumsum(0)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, channels, *spatial)``: the number of cases, and the shape of one image."""
        return (len(self), *self.images.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        """That of the images."""
        return self.images.dtype

    def __len__(self) -> int:
        return len(self.sizes)

    def places(self, rows: Tensor) -> Tensor:
        """Positions of the images of some cases, shape ``(r,)`` int64, one case's after another's."""
        sizes = self.sizes[rows]
        first = torch.repeat_interleave(self._ends[rows] - sizes, sizes)
        begins = torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
        return first + torch.arange(len(first)) - begins

    def all_images(self, rows: Tensor) -> Tensor:
        """All images of some cases, given as ``(b,)`` int64, shape ``(r, channels, *spatial)``."""
        return self.images[self.places(rows)]

    def __getitem__(self, rows: Tensor) -> Bag:
        """The bags of some cases, given as ``(b,)`` int64; as wide as the largest of them."""
        sizes = self.sizes[rows]
        width = max(1, int(sizes.max())) if len(sizes) else 1
        mask = torch.arange(width) < sizes.unsqueeze(1)
        images = self.all_images(rows)
        if bool(mask.all()):
            return Bag(images.view(len(rows), width, *images.shape[1:]), mask)
        x = images.new_zeros((len(rows), width, *images.shape[1:]))
        x[mask] = images
        return Bag(x, mask)
