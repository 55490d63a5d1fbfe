"""Checksums of stored images: whether they are those of another time."""

import zlib
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmfusion.data.images.rows import DecodedRows, MappedRows, Rows

MOST_BYTES: Final = 2**32
"""Most that is read for the sums of one modality of a set; of more images some are looked at, evenly spaced."""

_AT_ONCE = 64
"""Images that are read together."""


def checksums(images: Tensor | Rows, rows: Tensor) -> tuple[str, NDArray[np.uint32]]:
    """CRC-32 of images: from the cache's own record where there is one, else of their bytes.

    Args:
        images: Shape ``(n, channels, *spatial)``.
        rows: Which, ``(b,)`` int64.

    Returns:
        ``"pixels"`` or ``"files"``, whose bytes these are, and the sums, shape ``(b,)``; 0 for those passed over.
    """
    if isinstance(images, DecodedRows):
        return "files", images.file_checksums(rows)
    if isinstance(images, MappedRows) and (kept := images.checksums(rows)) is not None:
        return "pixels", kept
    found = np.zeros(len(rows), dtype=np.uint32)
    size = int(np.prod(images.shape[1:])) * torch.empty(0, dtype=images.dtype).element_size()
    step = max(1, -(-len(rows) * size // MOST_BYTES))
    some = torch.arange(0, len(rows), step)
    for block in torch.split(some, _AT_ONCE):
        for i, row in zip(block.tolist(), images[rows[block]].contiguous()):
            found[i] = zlib.crc32(row.reshape(-1).view(torch.uint8).numpy().data)
    return "pixels", found
