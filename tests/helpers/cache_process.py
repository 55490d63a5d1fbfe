"""Builds a cache of the images in a folder, in a process of its own: ``cache_process.py CACHE FOLDER LOG PAUSE``.

Every file that is decoded is a line in the log.
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmfusion.data.images.cache import ImageCache
from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.images.rows import MappedRows


@dataclass(frozen=True)
class Noting(ImageSource):
    """An :class:`ImageSource` that says what it does, at its leisure."""

    log = Path("log")
    pause = 0.0

    def decode(self, path):
        time.sleep(type(self).pause)
        with type(self).log.open("a") as log:
            log.write(f"{path.name}\n")
        return super().decode(path)


def build(cache: Path, folder: Path, advance: Callable[[int], None] = lambda n: None) -> MappedRows:
    """All images of the folder, decoded by one thread."""
    os.cpu_count = lambda: 1
    paths = sorted(folder.glob("*.png"))
    rows, faults = ImageCache(cache).rows(Noting("file", (8, 8)), paths, folder, advance=advance)
    if rows is None or faults:
        raise RuntimeError(f"not cached: {faults}")
    return rows


if __name__ == "__main__":
    Noting.log, Noting.pause = Path(sys.argv[3]), float(sys.argv[4])
    build(Path(sys.argv[1]), Path(sys.argv[2]))
