"""Several volumes of a case as the channels of one image."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.images.listing import Listing
from mmfusion.data.images.source import Properties
from mmfusion.data.images.volumes import VolumeSource
from mmfusion.option_checks import check_fields
from mmfusion.options import Length
from mmfusion.packed import entries, several, text, unpack
from mmfusion.spec import Image


@dataclass(frozen=True)
class StackSource:
    """Aligned volumes, such as the sequences of one examination, in one folder per case.

    Attributes:
        volume: Location and decoding of each volume; its column names the case's folder.
        parts: The files in the folder, one per channel, in order: ``("t1_bbox.nii.gz", "t2_bbox.nii.gz")``.
    """

    kind: ClassVar[str] = "stack"

    volume: VolumeSource
    parts: Annotated[tuple[str, ...], Length(1, 1000)]

    def __post_init__(self) -> None:
        check_fields(self)
        if self.volume.bag != 1:
            raise ValueError(f"StackSource expects one stack per case, volumes with bag=1, got {self.volume.bag}")

    @property
    def bag(self) -> int:
        """A case has one stack."""
        return 1

    @property
    def column(self) -> str:
        """The table's column with the folder names, or a pattern of several columns."""
        return self.volume.column

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders below the root, searched in order."""
        return self.volume.folders

    @property
    def suffix(self) -> str:
        """Appended to each name in messages: the files."""
        return f"{self.volume.suffix}/{{{','.join(self.parts)}}}"

    @property
    def spec(self) -> Image:
        """Channels, one per file, and size, for models."""
        return Image(len(self.parts), self.volume.size, self.volume.spacing)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored voxels: float16."""
        return self.volume.dtype

    @property
    def decoder(self) -> str:
        """The decoding library with its version."""
        return self.volume.decoder

    def find(self, root: Path, name: str, listing: Listing | None = None) -> Path | None:
        """The first file of the case's folder; None unless all of them exist."""
        listing = listing or Listing()
        for folder in self.volume.folders:
            home = listing.folder(root, os.path.join(folder, f"{name}{self.volume.suffix}"))
            if home is not None and all(listing.file(home, part) is not None for part in self.parts):
                return listing.file(home, self.parts[0])
        return None

    def files(self, path: Path) -> tuple[Path, ...]:
        """All files that :meth:`decode` reads for a path of :meth:`find`."""
        listing = Listing()
        return (path, *(listing.file(path.parent, part) or path.with_name(part) for part in self.parts[1:]))

    def probe(self, path: Path) -> None:
        """Check the files by their headers only.

        Raises:
            ValueError: As :meth:`VolumeSource.probe`, naming the file.
        """
        for file in self.files(path):
            try:
                self.volume.probe(file)
            except (OSError, ValueError) as error:
                raise ValueError(f"{file.name}: {error}") from error

    def at_file_size(self, path: Path) -> "StackSource":
        """As :meth:`VolumeSource.at_file_size`, for one of :meth:`files`."""
        return replace(self, volume=self.volume.at_file_size(path))

    def properties(self, path: Path) -> Properties:
        """Properties of the first file; see :meth:`VolumeSource.properties`.

        Raises:
            ValueError: As :meth:`VolumeSource.probe`.
        """
        return self.volume.properties(path)

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

    def file_map(self, path: Path, heat: NDArray[np.float32]) -> NDArray[np.float32]:
        """As :meth:`VolumeSource.file_map`, for one of :meth:`files`."""
        return self.volume.file_map(path, heat)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, for JSON."""
        return {**self.volume.to_dict(), "kind": self.kind, "parts": list(self.parts)}

    @classmethod
    def from_dict(cls, packed: Mapping[str, Any]) -> "StackSource":
        """The inverse of :meth:`to_dict`, without its kind."""
        parts = several(entries(packed, "source", "parts")["parts"], "source.parts")
        volume = unpack(VolumeSource, {key: value for key, value in packed.items() if key != "parts"}, "source")
        return cls(volume, tuple(text(part, "source.parts") for part in parts))
