"""Where a modality's files are, and what they become."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.images.listing import Listing
from mmfusion.spec import Image


class Source(Protocol):
    """Where a modality's files are, and what they become: :class:`~mmfusion.data.images.photographs.ImageSource`,
    :class:`~mmfusion.data.images.volumes.VolumeSource`, :class:`~mmfusion.data.images.stack.StackSource`.

    A frozen dataclass whose ``to_dict`` is JSON-able, names its ``kind`` and holds all that a decoded image depends on.
    """

    @property
    def kind(self) -> str:
        """What :func:`~mmfusion.data.images.sources.source_from_dict` knows it by."""

    @property
    def column(self) -> str:
        """The table's column with the files' names, or a pattern of several."""

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders below the root, searched in order."""

    @property
    def suffix(self) -> str:
        """Appended to each name."""

    @property
    def spec(self) -> Image:
        """What a model needs to know."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """How pixels are stored."""

    @property
    def decoder(self) -> str:
        """What decodes, with its version."""

    def find(self, root: Path, name: str, listing: Listing | None = None) -> Path | None:
        """The file of that name; a listing spares looking at the same folders again."""

    def files(self, path: Path) -> tuple[Path, ...]:
        """All files that are read for what :meth:`find` found."""

    def probe(self, path: Path) -> None:
        """Look at a file's header alone; ValueError for one that :meth:`decode` would refuse by it."""

    def decode(self, path: Path) -> NDArray[Any]:
        """A file's pixels, shape ``spec.shape``; ValueError for one that is damaged or does not fit."""

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, for JSON."""


def n_bytes(source: Source) -> int:
    """What one decoded image takes."""
    return int(np.prod(source.spec.shape)) * source.dtype.itemsize
