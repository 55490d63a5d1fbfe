"""Writing decoded images into a cache: pixels first, then what makes them found, and how far it is."""

import os
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_COMMIT_BYTES, _COMMIT_SECONDS = 64 * 2**20, 1.0
"""When what was decoded is forced to the disk: a kill loses no more."""


class Writer:
    """Pixels to slots, and their keys and sums once those are on the disk.

    Args:
        pixels: The file of slots.
        keys: That of entries.
        size: Bytes of a slot.
        entry: Bytes of an entry: the key, and the pixels' CRC-32.
    """

    def __init__(self, pixels: BinaryIO, keys: BinaryIO, size: int, entry: int) -> None:
        self._pixels, self._keys, self._size, self._entry = pixels, keys, size, entry
        self._written: list[tuple[int, bytes, int]] = []
        self._since = time.monotonic()

    def write(self, slot: int, key: bytes, image: NDArray[Any]) -> None:
        """One image."""
        content = np.ascontiguousarray(image).data.cast("B")
        self._pixels.seek(slot * self._size)
        self._pixels.write(content)
        self._written.append((slot, key, zlib.crc32(content)))
        if len(self._written) * self._size > _COMMIT_BYTES or time.monotonic() - self._since > _COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Make sure of all so far."""
        written, self._written, self._since = self._written, [], time.monotonic()
        force(self._pixels)
        for slot, key, total in written:
            self._keys.seek(slot * self._entry)
            self._keys.write(key + total.to_bytes(self._entry - len(key), "little"))
        force(self._keys)


class Done:
    """Which keys are not there yet, and for how many rows each counts."""

    def __init__(self, counts: Counter[bytes], advance: Callable[[int], None]) -> None:
        self._counts = counts
        self._advance = advance
        self.left = set(counts)

    @property
    def lacks_any(self) -> bool:
        """Whether one is not there yet."""
        return bool(self.left)

    def these(self, keys: Iterable[bytes]) -> None:
        """These are there; others than the wanted ones do not count."""
        new = self.left.intersection(keys)
        self.left -= new
        if new:
            self._advance(sum(self._counts[key] for key in new))


def force(file: BinaryIO) -> None:
    """Make sure that it is on the disk."""
    file.flush()
    os.fsync(file.fileno())
