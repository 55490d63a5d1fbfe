"""Slots of the image cache that the disk has damaged while they are read: decoded anew from their files."""

import warnings
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.images.cache_writing import force
from mmfusion.data.images.source import Source
from mmfusion.utils import locks

_KEPT_BYTES = 2**28
"""Of images that could not be written back, most that a process keeps in memory."""


class Repair:
    """Gives the image of a damaged slot from its file, and writes it back where that is safe.

    Safe is: no other process writes to the set, and the slot lies within the file. A file that was cut off stays as
    short as it is for the rest of the run: grown again it would have zeros in slots that other processes have looked at
    already. What cannot be written back is kept in memory, within bounds, and decoded again beyond these.

    Args:
        source: Decodes.
        files: By slot, the digest of the file whose image is in it, and the file.
        digest: Of a file, for a source.
        pixels: The file of slots.
        lock: Of the one process that writes to it.
    """

    def __init__(
        self,
        source: Source,
        files: Mapping[int, tuple[bytes, Path]],
        digest: Callable[[Source, Path], bytes],
        pixels: Path,
        lock: Path,
    ) -> None:
        self._source = source
        self._files = dict(files)
        self._digest = digest
        self._pixels = pixels
        self._lock = lock
        self._kept: OrderedDict[int, NDArray[Any]] = OrderedDict()
        self._said = False

    def __call__(self, slot: int, checksum: int, what: str) -> NDArray[Any]:
        """The image that belongs into a slot.

        Args:
            slot: Which.
            checksum: CRC-32 of its pixels when they were written.
            what: What is wrong with it, for messages.

        Raises:
            ValueError: If its file cannot be decoded any more to what was written; says what to do.
        """
        if slot in self._kept:
            return self._kept[slot]
        key, path = self._files[slot]
        try:
            image = self._source.decode(path)
            wrong = None if self._digest(self._source, path) == key else "it has changed since"
        except (OSError, ValueError) as error:
            image, wrong = np.zeros(0), str(error)
        if wrong is None and zlib.crc32(np.ascontiguousarray(image).data) != checksum:
            wrong = "it is decoded to other pixels than before"
        if wrong is not None:
            raise ValueError(
                f"{what}, and {path} cannot take its place ({wrong}). Check the disk, and start again with the same "
                f"command; if this comes again, delete {self._pixels.parent}: the images are decoded anew then"
            )
        if not self._said:
            warnings.warn(f"{what}: decoded anew from {path}, and so are others like it. Check the disk", stacklevel=2)
            self._said = True
        if not self._write(slot, image):
            self._kept[slot] = image
            while len(self._kept) * image.nbytes > _KEPT_BYTES:
                self._kept.popitem(last=False)
        return image

    def _write(self, slot: int, image: NDArray[Any]) -> bool:
        """Put an image where it belongs, if that is safe; whether it was."""
        with suppress(OSError), locks.alone(self._lock) as ours:
            if ours and self._pixels.stat().st_size >= (slot + 1) * image.nbytes:
                with self._pixels.open("r+b") as pixels:
                    pixels.seek(slot * image.nbytes)
                    pixels.write(np.ascontiguousarray(image).data.cast("B"))
                    force(pixels)
                return True
        return False

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": OrderedDict()}
