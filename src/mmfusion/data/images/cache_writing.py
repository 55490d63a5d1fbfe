"""Writing of decoded images into the cache: pixels before keys, and progress."""

import os
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_COMMIT_BYTES, _COMMIT_SECONDS = 64 * 2**20, 1.0
"""Intervals at which decoded images are forced to disk: the most that a kill can lose."""


class Writer:
    """Writes pixels to slots, and their keys and checksums once the pixels are on disk.

    Args:
        pixels: The file of slots.
        keys: The file of entries.
        size: Bytes of a slot.
        entry: Bytes of an entry: the key, then CRC-32 of the pixels.
    """

    def __init__(self, pixels: BinaryIO, keys: BinaryIO, size: int, entry: int) -> None:
        self._pixels, self._keys, self._size, self._entry = pixels, keys, size, entry
        self._written: list[tuple[int, bytes, int]] = []
        self._since = time.monotonic()

    def write(self, slot: int, key: bytes, image: NDArray[Any]) -> None:
        """Write one image."""
        content = np.ascontiguousarray(image).data.cast("B")
        self._pixels.seek(slot * self._size)
        self._pixels.write(content)
        self._written.append((slot, key, zlib.crc32(content)))
        if len(self._written) * self._size > _COMMIT_BYTES or time.monotonic() - self._since > _COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Force all images written so far to disk."""
        written, self._written, self._since = self._written, [], time.monotonic()
        force(self._pixels)
        for slot, key, total in written:
            self._keys.seek(slot * self._entry)
            self._keys.write(key + total.to_bytes(self._entry - len(key), "little"))
        force(self._keys)


class Done:
    """Progress: the keys that are still missing, and the number of rows that each stands for."""

    def __init__(self, counts: Counter[bytes], advance: Callable[[int], None]) -> None:
        self._counts = counts
        self._advance = advance
        self.left = set(counts)

    def add(self, keys: Iterable[bytes]) -> None:
        """Count keys as done; unknown ones are ignored."""
        new = self.left.intersection(keys)
        self.left -= new
        if new:
            self._advance(sum(self._counts[key] for key in new))


def force(file: BinaryIO) -> None:
    """Force what was written to a file to disk."""
    file.flush()
    os.fsync(file.fileno())
