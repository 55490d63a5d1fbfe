"""Repair of the image cache during a run: damaged slots are decoded again from their files."""

import warnings
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.images.cache_keys import of_image
from mmfusion.data.images.cache_writing import force
from mmfusion.data.images.source import Source
from mmfusion.utils import locks

_KEPT_BYTES = 2**28
"""Most bytes of images that could not be written back and are kept in memory instead, per process."""


class Repair:
    """Decodes the image of a damaged slot again, and writes it back where that is safe.

    It is safe if no other process writes to the set and the slot is within the file. A truncated file is not extended
    during the run, as slots that other processes have verified already would become zeros. Images that cannot be
    written back are kept in memory up to a limit, and decoded again beyond it.

    Args:
        source: Decodes the files.
        files: By slot, the digest of the file whose image is in it, and the file's path.
        pixels: The file of slots.
        lock: Lock of the process that writes to it.
    """

    def __init__(
        self,
        source: Source,
        files: Mapping[int, tuple[bytes, Path]],
        pixels: Path,
        lock: Path,
    ) -> None:
        self._source = source
        self._files = dict(files)
        self._pixels = pixels
        self._lock = lock
        self._kept: OrderedDict[int, NDArray[Any]] = OrderedDict()
        self._warned = False

    def __call__(self, slot: int, checksum: int, what: str) -> NDArray[Any]:
        """The image of a slot.

        Args:
            slot: The damaged slot.
            checksum: CRC-32 of its pixels when they were written.
            what: What is wrong with the slot, for messages.

        Raises:
            ValueError: If its file does not decode to the same pixels any more.
        """
        if slot in self._kept:
            return self._kept[slot]
        key, path = self._files[slot]
        try:
            image = self._source.decode(path)
            wrong = None if of_image(self._source, path) == key else "it has changed since"
        except (OSError, ValueError) as error:
            image, wrong = np.zeros(0), str(error)
        if wrong is None and zlib.crc32(np.ascontiguousarray(image).data) != checksum:
            wrong = "it decodes to other pixels than before"
        if wrong is not None:
            raise ValueError(
                f"{what}, and cannot be restored from {path} ({wrong}). Check the disk, and start again with the same "
                f"command; if the error persists, delete {self._pixels.parent}, and the images are decoded again"
            )
        if not self._warned:
            warnings.warn(
                f"{what}: decoded again from {path}; further damaged slots likewise. Check the disk", stacklevel=2
            )
            self._warned = True
        if not self._write(slot, image):
            self._kept[slot] = image
            while len(self._kept) * image.nbytes > _KEPT_BYTES:
                self._kept.popitem(last=False)
        return image

    def _write(self, slot: int, image: NDArray[Any]) -> bool:
        """Write an image back to its slot if that is safe; True if it was written."""
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
