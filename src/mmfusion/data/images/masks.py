"""Masks of regions in images, such as lesions: read from files on request, resized as their images are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pandas as pd
import torch
from torch import Tensor

from mmfusion.data.images.listing import Listing
from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.images.sources import find_images
from mmfusion.data.images.threads import in_threads


class RegionMasks(Protocol):
    """Masks of one image modality, one per case, from files or drawn."""

    def __len__(self) -> int:
        """Number of cases."""

    def __getitem__(self, row: int, /) -> Tensor | None:
        """One case's mask, shape ``size`` bool; None if the case has no mask or lacks the image."""


@dataclass(frozen=True)
class Masks:
    """Masks of one image modality, one per case.

    No model reads them: they are for explanations and figures, and are decoded each time.

    Attributes:
        source: The modality's images.
        paths: File of each case's mask; None: the case has no mask.
        images: File of each case's image; None: the case lacks the image, and with it the mask.
    """

    source: ImageSource
    paths: tuple[Path | None, ...]
    images: tuple[Path | None, ...]

    def __post_init__(self) -> None:
        if len(self.paths) != len(self.images):
            raise ValueError(f"Masks expects one mask, or None, per image, got {len(self.paths)} of {len(self.images)}")

    @classmethod
    def find(cls, source: ImageSource, frame: pd.DataFrame, root: Path, names: Sequence[str | None]) -> "Masks":
        """The masks that exist.

        Args:
            source: The modality's images.
            frame: One row per case, with the source's column.
            root: The folder that the names of images and masks are relative to.
            names: File of each case's mask, as in ``"Masks/mask_0001-l.png"``; None: the case has none.
        """
        listing = Listing()
        paths = (None if name is None else listing.file(root, name) for name in names)
        images = (files[0] if files else None for files in find_images({"image": source}, frame, root).paths["image"])
        return cls(source, tuple(paths), tuple(images))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Tensor | None:
        """One case's mask.

        Returns:
            Shape ``(height, width)`` bool, the size of the modality's images, True inside the region; None if the case
            has no mask or lacks the image.

        Raises:
            IndexError: If there is no such case.
            ValueError: If a file is damaged, or mask and image have different sizes; names the file.
        """
        path, image = self.paths[row], self.images[row]
        if path is None or image is None:
            return None
        try:
            return torch.from_numpy(self.source.decode_mask(path, image))
        except (OSError, ValueError) as error:
            raise ValueError(f"the mask {path} cannot be used ({error})") from error

    @property
    def n_present(self) -> int:
        """Number of cases that have a mask and the image."""
        return sum(path is not None and image is not None for path, image in zip(self.paths, self.images))

    def faults(self, frame: pd.DataFrame) -> list[str]:
        """One line per mask that is damaged, has another size than its image, or marks nothing.

        Args:
            frame: One row per case, for the rows' labels.
        """

        def fault(i: int) -> str | None:
            try:
                mask = self[i]
            except ValueError as error:
                return f"row {frame.index[i]}: {error}"
            if mask is None or mask.any():
                return None
            return f"row {frame.index[i]}: the mask {self.paths[i]} marks no pixel"

        return [found for found in in_threads(fault, range(len(self))) if found is not None]
