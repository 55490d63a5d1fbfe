"""Images of two axes as models take them: bytes, resized to one size."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from mmfusion.data.images.source import Folders, Most
from mmfusion.option_checks import check_fields
from mmfusion.options import Pixels
from mmfusion.spec import Image

MAX_BYTES: Final = 2**29
"""Limit of an image's memory before it is resized, at four bytes per pixel: 134 million pixels."""


@dataclass(frozen=True)
class PlanarSource:
    """What sources of images with two axes have in common, whatever the format of their files; one file per image.

    Attributes:
        column: The table's column with the file names, or a pattern of several columns: ``"{patient}/{view}"``.
        size: ``(height, width)`` in pixels to which every image is resized; the aspect ratio is not kept.
        channels: 3 for color, 1 for grey.
        folders: Folders below the root, searched in order.
        suffix: Appended to each name, ``".jpg"``; empty if the column has complete file names.
        bag: Most images of a case; above 1 a cell may name several.
    """

    column: str
    size: tuple[Pixels, Pixels]
    channels: Literal[1, 3] = 3
    folders: Folders = ("",)
    suffix: str = ""
    bag: Most = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def spec(self) -> Image:
        """Channels, size and most images of a case, for models."""
        return Image(self.channels, self.size, bag=self.bag)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored pixels: uint8."""
        return np.dtype(np.uint8)

    def files(self, path: Path) -> tuple[Path, ...]:
        """All files that are decoded for a path that was found: the path itself."""
        return (path,)
