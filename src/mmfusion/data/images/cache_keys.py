"""Keys of files in the image cache: digests of path, size and time of change."""

import hashlib
import os
from pathlib import Path
from typing import Final

from mmfusion.data.images.source import Source

SIZE: Final = 16
"""Bytes of a digest."""


def of_image(source: Source, path: Path) -> bytes:
    """Digest of all files that a source reads for one image."""
    keys = [of_file(file) for file in source.files(path)]
    return keys[0] if len(keys) == 1 else hashlib.blake2b(b"".join(keys), digest_size=SIZE).digest()


def of_file(path: Path) -> bytes:
    """Digest of a file's path, size and time of change."""
    stat = path.stat()
    text = f"{os.path.abspath(path)}\0{stat.st_size}\0{stat.st_mtime_ns}"
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=SIZE).digest()
