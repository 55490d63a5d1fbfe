"""Several volumes of one case as the channels of one."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.images.listing import Listing
from mmfusion.data.images.volumes import VolumeSource
from mmfusion.spec import Image
from mmfusion.utils.packed import entries, several, text


@dataclass(frozen=True)
class StackSource:
    """Volumes that lie on each other, such as the sequences of one examination, in one folder a case.

    Attributes:
        volume: How each of them is read; its column names the case's folder, its folders and suffix are searched as
            always.
        parts: The files in it, one a channel, in order: ``("t1_bbox.nii.gz", "t2_bbox.nii.gz")``.
    """

    kind: ClassVar[str] = "stack"

    volume: VolumeSource
    parts: tuple[str, ...]

    def __post_init__(self) -> None:
        if isinstance(self.parts, str) or not self.parts:
            raise ValueError(f"StackSource expects the names of the files in a tuple, got {self.parts!r}")
        object.__setattr__(self, "parts", tuple(self.parts))

    @property
    def column(self) -> str:
        """The table's column with the folder's name, or a pattern of several."""
        return self.volume.column

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders below the root, searched in order."""
        return self.volume.folders

    @property
    def suffix(self) -> str:
        """Appended to each name, for messages: the files."""
        return f"{self.volume.suffix}/{{{','.join(self.parts)}}}"

    @property
    def spec(self) -> Image:
        """What a model needs to know; a channel a file."""
        return Image(len(self.parts), self.volume.size, self.volume.spacing)

    @property
    def dtype(self) -> np.dtype[Any]:
        """How voxels are stored: float16."""
        return self.volume.dtype

    @property
    def decoder(self) -> str:
        """What decodes, with its version."""
        return self.volume.decoder

    def find(self, root: Path, name: str, listing: Listing | None = None) -> Path | None:
        """The first file of the case's folder; None unless all of them are there."""
        listing = listing or Listing()
        for folder in self.volume.folders:
            home = listing.folder(root, os.path.join(folder, f"{name}{self.volume.suffix}"))
            if home is not None and all(listing.file(home, part) is not None for part in self.parts):
                return listing.file(home, self.parts[0])
        return None

    def files(self, path: Path) -> tuple[Path, ...]:
        """All files that are read for what :meth:`find` found."""
        listing = Listing()
        return (path, *(listing.file(path.parent, part) or path.with_name(part) for part in self.parts[1:]))

    def probe(self, path: Path) -> None:
        """Look at the files' headers alone.

        Raises:
            ValueError: As :meth:`VolumeSource.probe`, naming the file.
        """
        for file in self.files(path):
            try:
                self.volume.probe(file)
            except (OSError, ValueError) as error:
                raise ValueError(f"{file.name}: {error}") from error

    def decode(self, path: Path) -> NDArray[Any]:
        """The volumes' voxels, shape ``(channels, height, width, slices)`` float16.

        Raises:
            ValueError: As :meth:`VolumeSource.decode`, naming the file.
        """
        channels = []
        for file in self.files(path):
            try:
                channels.append(self.volume.decode(file))
            except (OSError, ValueError) as error:
                raise ValueError(f"{file.name}: {error}") from error
        return np.concatenate(channels)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, for JSON."""
        return {**self.volume.to_dict(), "kind": self.kind, "parts": list(self.parts)}

    @classmethod
    def from_dict(cls, packed: dict[str, Any]) -> "StackSource":
        """The inverse of :meth:`to_dict`."""
        parts = several(entries(packed, "source", "parts")["parts"], "source.parts")
        volume = VolumeSource.from_dict({key: value for key, value in packed.items() if key != "parts"})
        return cls(volume, tuple(text(part, "source.parts") for part in parts))
