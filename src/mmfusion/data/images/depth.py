"""Depth of greyscale images: 12 bits are often stored in files of 16, and would be nearly black."""

from collections.abc import Iterable
from pathlib import Path

from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.images.threads import in_threads

_DEPTHS = (8, 10, 12, 14, 16)
_SAMPLE = 64
"""Files that are looked at; a larger value in another one is an error that names it."""


def depth_of(source: ImageSource, paths: Iterable[Path]) -> int:
    """Bits that the values of a column's deep greyscale images need, of a sample of the files; 16 if none is deep.

    Args:
        source: The column's images.
        paths: All files of the column.
    """
    files = list(dict.fromkeys(paths))

    def look(path: Path) -> float | None:
        try:
            return source.largest(path)
        except (OSError, ValueError):
            return None  # the reader names it

    values = [value for value in in_threads(look, files[:: -(-len(files) // _SAMPLE) or 1]) if value is not None]
    return next((bits for bits in _DEPTHS if values and max(values) < 2**bits), 16)
