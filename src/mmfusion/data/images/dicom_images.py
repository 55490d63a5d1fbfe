"""DICOM images of two axes: rescaled, windowed, upright in grey, and resized to one size."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.images.dicom_files import (
    check_memory,
    dicom_properties,
    errors_of_dicom,
    header_of,
    is_inverted,
    n_frames,
    numbers,
    of_frame,
    read_frames,
    rescaled,
    stored_range,
)
from mmfusion.data.images.listing import Listing
from mmfusion.data.images.planar import MAX_BYTES, PlanarSource
from mmfusion.data.images.resampling import resized_map
from mmfusion.data.images.source import Bytes, Properties, find_file, packed
from mmfusion.options import Range, Span
from mmfusion.utils.optional import need

Frame = Annotated[int, Range(0, 2**31)] | Literal["middle"]


@dataclass(frozen=True)
class DicomSource(PlanarSource):
    """Location and decoding of a modality's DICOM images, such as radiographs, ultrasound, or single slices.

    Stored values are rescaled (slope and intercept, or a table), windowed, inverted where the smallest is white
    (MONOCHROME1), and resized bilinearly with antialiasing. Colors become RGB.

    Attributes:
        column: The table's column with the file names, or a pattern of several columns.
        size: ``(height, width)`` in pixels to which every image is resized; the aspect ratio is not kept.
        channels: 3 for color, 1 for grey.
        folders: Folders below the root, searched in order.
        suffix: Appended to each name, ``".dcm"``; empty if the column has complete file names.
        bag: Most images of a case; above 1 a cell may name several.
        range: Rescaled values that become black and white: linear between, clipped beyond. None: the first window of
            each file (VOI), or without one all values that its depth allows.
        image_frame: The frame of a file with several, from 0, or ``"middle"``; None: such a file is an error. As a
            volume they are read by :class:`~mmfusion.data.images.volumes.VolumeSource`.
        max_bytes: Limit of an image's memory before it is resized, at four bytes per pixel.
    """

    kind: ClassVar[str] = "dicom"

    range: Span | None = None
    image_frame: Frame | None = None
    max_bytes: Bytes = MAX_BYTES

    @property
    def decoder(self) -> str:
        """The decoding libraries with their versions: other versions may give other bits."""
        return f"pydicom {need('pydicom', 'dicom').__version__}, pillow {need('PIL', 'bench').__version__}"

    def find(self, root: Path, name: str, listing: Listing | None = None) -> Path | None:
        """The file of that name in the first folder that has it."""
        return find_file(root, self.folders, (f"{name}{self.suffix}",), listing)

    @errors_of_dicom()
    def probe(self, path: Path) -> None:
        """Check a file by its header only.

        Raises:
            ValueError: If it is not a DICOM image, or one that :meth:`decode` does not accept.
        """
        self._checked(path)

    @errors_of_dicom()
    def properties(self, path: Path) -> Properties:
        """Device, protocol, depth and size of a file, as its header names them.

        Raises:
            ValueError: As :meth:`probe`.
        """
        header = self._checked(path)[0]
        return {
            **dicom_properties(path, header),
            "width": float(header.Columns),
            "height": float(header.Rows),
            "bytes per pixel": path.stat().st_size / (n_frames(header) * header.Columns * header.Rows),
        }

    @errors_of_dicom()
    def decode(self, path: Path) -> NDArray[np.uint8]:
        """The image's pixels, shape ``(channels, height, width)`` uint8.

        Raises:
            ValueError: If the file cannot be decoded, has several frames and none is chosen, or is larger than
                ``max_bytes``.
        """
        _, frame = self._checked(path)
        header, frames = read_frames(path, frame)
        pixels = frames[0]
        pil: Any = need("PIL.Image", "bench")
        if pixels.ndim == 3:
            colors = pixels if pixels.dtype == np.uint8 else self._grey(header, frame, pixels)
            image = pil.fromarray(colors[..., :3].round().astype(np.uint8)).convert(
                "RGB" if self.channels == 3 else "L"
            )
        else:
            image = pil.fromarray(self._grey(header, frame, pixels))
        if image.size != self.size[::-1]:
            image = image.resize(self.size[::-1], pil.Resampling.BILINEAR)
        values = np.asarray(image, dtype=np.float32).reshape(*self.size, -1)
        rounded = np.moveaxis((values.clip(0, 255) + 0.5).astype(np.uint8), -1, 0)
        return np.ascontiguousarray(np.broadcast_to(rounded, (self.channels, *self.size)))

    @errors_of_dicom()
    def file_map(self, path: Path, heat: NDArray[np.float32]) -> NDArray[np.float32]:
        """A map of the decoded image, shape ``(height, width)``, at the file's rows and columns."""
        header = self._checked(path)[0]
        return resized_map(heat, (int(header.Rows), int(header.Columns)))

    @errors_of_dicom()
    def at_file_size(self, path: Path) -> "DicomSource":
        """The same source for images of the file's rows and columns."""
        header = self._checked(path)[0]
        return replace(self, size=(int(header.Rows), int(header.Columns)))

    def _checked(self, path: Path) -> tuple[Any, int]:
        """The header of a file, and the frame to decode."""
        header = header_of(path)
        n = n_frames(header)
        if n > 1 and self.image_frame is None:
            raise ValueError(
                f"it has {n} frames: read them as a volume (size=[height, width, slices]), or choose one, as in "
                "image_frame='middle'"
            )
        frame = n // 2 if self.image_frame == "middle" else int(self.image_frame or 0)
        if frame >= n:
            raise ValueError(f"it has {n} frame(s), and frame {frame} was asked for, counted from 0")
        check_memory(header, 1, self.max_bytes)
        return header, frame

    def _grey(self, header: Any, frame: int, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Values of a frame from 0, black, to 255, white."""
        values = rescaled(header, frame, pixels)
        low, high = sorted(rescaled(header, frame, stored_range(header)).tolist())
        voi = of_frame(header, frame, "FrameVOILUTSequence")
        center, width = numbers(voi.get("WindowCenter")), numbers(voi.get("WindowWidth"))
        if self.range is not None:
            shown = linear(values, *self.range)
        elif header.get("VOILUTSequence") and of_frame(header, frame, "PixelValueTransformationSequence") is not header:
            shown = linear(values, low, high)
        elif header.get("VOILUTSequence"):
            table = need("pydicom.pixels", "dicom").apply_voi(values.astype(np.int64), header)
            shown = linear(table.astype(np.float32), 0, 2 ** int(header.VOILUTSequence[0].LUTDescriptor[2]) - 1)
        elif center and width and width[0] > 0:
            shown = windowed(values, center[0], width[0], str(voi.get("VOILUTFunction") or "LINEAR"))
        else:
            shown = linear(values, low, high)
        return 255 - shown if is_inverted(header) else shown

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, for JSON; the default limit and bag are left out."""
        return packed(self, ("max_bytes", "bag"))


def linear(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    """Values from 0 at the low one to 255 at the high one, clipped."""
    return np.asarray(np.clip((values - low) * (255 / max(high - low, 1e-6)), 0, 255), dtype=np.float32)


def windowed(values: NDArray[np.float32], center: float, width: float, function: str = "LINEAR") -> NDArray[np.float32]:
    """A window of DICOM (PS3.3, C.11.2.1.2), from 0 to 255.

    Args:
        values: Rescaled values.
        center: Center of the window.
        width: Its width, above 0.
        function: ``"LINEAR"``, ``"LINEAR_EXACT"`` or ``"SIGMOID"``; anything else is the first.
    """
    if function == "SIGMOID":
        exponent = np.clip(-4 * (values - center) / width, -80, 80)
        return np.asarray(255 / (1 + np.exp(exponent)), dtype=np.float32)
    if function != "LINEAR_EXACT":
        center, width = center - 0.5, max(width - 1, 1e-6)
    return linear(values, center - width / 2, center + width / 2)
