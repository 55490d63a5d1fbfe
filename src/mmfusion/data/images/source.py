"""Interface of image sources: location and decoding of a modality's files."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.images.listing import Listing
from mmfusion.spec import Image


class Source(Protocol):
    """Location and decoding of a modality's files: :class:`~mmfusion.data.images.photographs.ImageSource`,
    :class:`~mmfusion.data.images.volumes.VolumeSource`, :class:`~mmfusion.data.images.stack.StackSource`.

    A frozen dataclass whose ``to_dict`` gives JSON with its ``kind`` and every option that a decoded image depends on.
    """

    @property
    def kind(self) -> str:
        """The name of the class in :func:`~mmfusion.data.images.sources.source_from_dict`."""

    @property
    def column(self) -> str:
        """The table's column with the file names, or a pattern of several columns."""

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders below the root, searched in order."""

    @property
    def suffix(self) -> str:
        """Appended to each name."""

    @property
    def spec(self) -> Image:
        """Channels and size, for models."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored pixels."""

    @property
    def decoder(self) -> str:
        """The decoding library with its version."""

    def find(self, root: Path, name: str, listing: Listing | None = None) -> Path | None:
        """The file of that name, or None; a listing saves reading the same folders again."""

    def files(self, path: Path) -> tuple[Path, ...]:
        """All files that :meth:`decode` reads for a path of :meth:`find`."""

    def probe(self, path: Path) -> None:
        """Check a file by its header only; a ValueError if :meth:`decode` would not accept it."""

    def decode(self, path: Path) -> NDArray[Any]:
        """A file's pixels, shape ``spec.shape``; a ValueError if it is damaged or does not fit."""

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, for JSON."""


def n_bytes(source: Source) -> int:
    """Size of one decoded image in bytes."""
    return int(np.prod(source.spec.shape)) * source.dtype.itemsize
