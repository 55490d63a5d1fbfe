"""Checksums of stored images, to compare them with those of another run."""

import zlib
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmfusion.data.images.rows import DecodedRows, MappedRows, Rows

MOST_BYTES: Final = 2**32
"""Most bytes that are read per modality and set; of more images an evenly spaced sample is read."""

_AT_ONCE = 64
"""Number of images that are read together."""


def checksums(images: Tensor | Rows, rows: Tensor) -> tuple[str, NDArray[np.uint32]]:
    """CRC-32 of images: as recorded in the cache, else computed from their bytes.

    Args:
        images: Shape ``(n, channels, *spatial)``.
        rows: The rows to look at, shape ``(b,)`` int64.

    Returns:
        ``"pixels"`` or ``"files"``, whose bytes were summed, and the sums, shape ``(b,)``; 0 for images not in the
        sample.
    """
    if isinstance(images, DecodedRows):
        return "files", images.file_checksums(rows)
    if isinstance(images, MappedRows) and (stored := images.checksums(rows)) is not None:
        return "pixels", stored
    sums = np.zeros(len(rows), dtype=np.uint32)
    size = int(np.prod(images.shape[1:])) * torch.empty(0, dtype=images.dtype).element_size()
    step = max(1, -(-len(rows) * size // MOST_BYTES))
    some = torch.arange(0, len(rows), step)
    for block in torch.split(some, _AT_ONCE):
        for i, row in zip(block.tolist(), images[rows[block]].contiguous()):
            sums[i] = zlib.crc32(row.reshape(-1).view(torch.uint8).numpy().data)
    return "pixels", sums
