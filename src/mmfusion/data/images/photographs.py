"""Photographs: any file that Pillow reads, resized to one size."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.images.foreign_files import opened, quiet
from mmfusion.data.images.listing import Listing
from mmfusion.data.images.planar import MAX_BYTES, PlanarSource
from mmfusion.data.images.resampling import resized_map
from mmfusion.data.images.source import Bytes, Properties, find_file, packed
from mmfusion.options import Range, Span
from mmfusion.utils.optional import need

_PIXEL = 4
_PROGRAMS = ("EPS",)
"""Formats that Pillow hands to Ghostscript."""
_MODES = {1: "L", 3: "RGB"}
_HALF = 128
"""A mask's byte from which on at least half of a pixel is inside."""
_ORIENTATION = 0x0112
"""EXIF tag; from 5 on, width and height are exchanged."""
_EXIF = {0x010F: "maker", 0x0110: "device", 0x0131: "program", _ORIENTATION: "rotation"}

_STORED: Final[dict[int, Callable[[NDArray[np.float32]], NDArray[np.float32]]]] = {
    2: np.fliplr,
    3: lambda x: np.rot90(x, 2),
    4: np.flipud,
    5: np.transpose,
    6: np.rot90,
    7: lambda x: np.rot90(x, 2).T,
    8: lambda x: np.rot90(x, -1),
}
"""From an upright image to the pixels as stored, by EXIF orientation."""


@dataclass(frozen=True)
class ImageSource(PlanarSource):
    """Location and decoding of a modality's photographs.

    A photograph is rotated upright by its EXIF orientation, converted to grey or RGB, and resized bilinearly with
    antialiasing if its size differs. Transparency is dropped and the colors beneath it are kept; of an animation or a
    TIFF with several pages the first image is used.

    Attributes:
        column: The table's column with the file names, or a pattern of several columns: ``"{patient}/{view}"``.
        size: ``(height, width)`` in pixels to which every image is resized; the aspect ratio is not kept.
        channels: 3 for color, 1 for grey.
        folders: Folders below the root, searched in order.
        suffix: Appended to each name, ``".jpg"``; empty if the column has complete file names.
        bag: Most images of a case; above 1 a cell may name several.
        endings: Alternative endings, tried in order if there is no file of the given name, such as ``(".jpg",)`` for
            PNG files that were converted.
        range: For greyscale deeper than 8 bits, the values that become 0 and 255: linear between, clipped beyond. None:
            0 and ``2**bits - 1``; an image of floating-point numbers needs a range.
        order: Order of the color channels: "rgb", which pretrained weights expect; "bgr" for parity with code that
            does not convert what OpenCV reads.
        max_bytes: Limit of an image's memory before it is resized, at four bytes per pixel; a larger image is an error
            before its pixels are read. A file of some kilobytes can claim gigabytes.
        bits: For greyscale deeper than 8 bits without a ``range``, the depth: ``2**bits - 1`` becomes white, and an
            image with a larger value is an error. See :func:`~mmfusion.data.images.depth.depth_of`.
    """

    kind: ClassVar[str] = "image"

    endings: tuple[str, ...] = ()
    range: Span | None = None
    order: Literal["rgb", "bgr"] = "rgb"
    max_bytes: Bytes = MAX_BYTES
    bits: Annotated[int, Range(1, 16)] = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order == "bgr" and self.channels == 1:
            raise ValueError("ImageSource: order 'bgr' expects 3 channels, got 1")

    @property
    def decoder(self) -> str:
        """The decoding library with its version: another version may give other bits."""
        return f"pillow {need('PIL', 'bench').__version__}"

    def find(self, root: Path, name: str, listing: Listing | None = None) -> Path | None:
        """The file of that name in the first folder that has it."""
        whole = Path(f"{name}{self.suffix}")
        names = (str(whole), *(str(whole.with_suffix(ending)) for ending in self.endings if whole.name))
        return find_file(root, self.folders, names, listing)

    def probe(self, path: Path) -> None:
        """Check a file by its header only.

        Raises:
            ValueError: If it is not an image, or its format or size is one that :meth:`decode` does not accept.
        """
        with _opened(path, self.max_bytes) as image:
            self._deep(image)

    def properties(self, path: Path) -> Properties:
        """Format, size, depth and compression of a file, and the camera and program that it names.

        Raises:
            ValueError: As :meth:`probe`.
        """
        with _opened(path, self.max_bytes) as image:
            self._deep(image)
            # Of a PNG, Pillow would decode all pixels to look for EXIF behind them.
            exif = {} if image.format == "PNG" and "exif" not in image.info else image.getexif()
            tables = list(getattr(image, "quantization", {}).values())
            known: dict[str, str | float] = {
                "ending": path.suffix,
                "format": str(image.format),
                "pixels": str(image.mode),
                "width": float(image.width),
                "height": float(image.height),
                "bytes per pixel": path.stat().st_size / max(1, image.width * image.height),
                "color profile": "yes" if image.info.get("icc_profile") else "no",
                **{name: str(exif[tag]).strip("\0 ") for tag, name in _EXIF.items() if tag in exif},
            }
            if tables:  # the mean step of the quantization: larger where the quality is lower
                known["compression"] = float(np.mean(tables[0]))
            if dpi := image.info.get("dpi"):
                known["resolution"] = float(dpi[0])
            return known

    def decode(self, path: Path) -> NDArray[np.uint8]:
        """The image's pixels, shape ``(channels, height, width)`` uint8.

        Raises:
            ValueError: If the file cannot be decoded, is larger than ``max_bytes``, or its values do not fit the range.
        """
        with _opened(path, self.max_bytes) as image:
            # Transparency is dropped anyway: without it Pillow neither warns nor looks for a color in its place.
            image.load()
            image.info.pop("transparency", None)
            upright = need("PIL.ImageOps", "bench").exif_transpose(image)
            if self._deep(image):
                grey = self._scaled(np.asarray(self._resized(_as_float(upright))))
                return np.repeat(grey[None], self.channels, axis=0)
            shown = self._resized(upright.convert(_MODES[self.channels]))
        pixels = np.asarray(shown, dtype=np.uint8).reshape(*self.size, self.channels)
        if self.order == "bgr":
            pixels = pixels[..., ::-1]
        return np.ascontiguousarray(np.moveaxis(pixels, -1, 0))

    def file_map(self, path: Path, heat: NDArray[np.float32]) -> NDArray[np.float32]:
        """A map of the decoded image at the file's size, as its pixels are stored, before the rotation of EXIF.

        Args:
            path: The file.
            heat: Shape ``(height, width)`` of :meth:`decode`.
        """
        with _opened(path, self.max_bytes) as image:
            width, height = _upright_size(image)
            rotation = int(image.getexif().get(_ORIENTATION, 1))
        return np.ascontiguousarray(_STORED.get(rotation, np.asarray)(resized_map(heat, (height, width))))

    def at_file_size(self, path: Path) -> "ImageSource":
        """The same source for upright images as large as the file's.

        Raises:
            ValueError: If the file cannot be read.
        """
        with _opened(path, self.max_bytes) as image:
            width, height = _upright_size(image)
        return replace(self, size=(height, width))

    def largest(self, path: Path) -> float | None:
        """The largest value of a greyscale image deeper than 8 bits; None for any other image.

        Raises:
            ValueError: If the file cannot be decoded.
        """
        with _opened(path, self.max_bytes) as image:
            return float(np.asarray(image).max()) if str(image.mode).startswith("I") else None

    def decode_mask(self, path: Path, image: Path) -> NDArray[np.bool_]:
        """A mask of a region in an image of this source, rotated and resized as the image is.

        Args:
            path: File of the mask: grey or black and white, inside where it is brighter than half of its maximum.
            image: File of the image.

        Returns:
            Shape ``(height, width)`` bool, True where at least half of a pixel is inside.

        Raises:
            ValueError: If a file cannot be decoded, or the two have different sizes.
        """
        with _opened(image, self.max_bytes) as shown:
            expected = _upright_size(shown)
        with _opened(path, self.max_bytes) as mask:
            if (size := _upright_size(mask)) != expected:
                raise ValueError(
                    f"the mask has {size[0]} x {size[1]} pixels (width x height), its image {expected[0]} x "
                    f"{expected[1]}: expected the same size"
                )
            upright = need("PIL.ImageOps", "bench").exif_transpose(mask)
            values = np.asarray(upright if self._deep(upright) else upright.convert("L"))
        if not np.isfinite(values).all():
            raise ValueError("it has pixels that are NaN or infinite")
        inside = need("PIL.Image", "bench").fromarray(np.where(values > values.max() / 2, 255, 0).astype(np.uint8))
        whole: NDArray[np.bool_] = np.asarray(self._resized(inside)) >= _HALF
        return whole

    def _deep(self, image: Any) -> bool:
        """Whether an image is greyscale of more than 8 bits."""
        if image.mode == "F" and self.range is None:
            raise ValueError(
                "its pixels are floating-point numbers: give the values that become black and white by range"
            )
        return image.mode == "F" or str(image.mode).startswith("I")

    def _resized(self, image: Any) -> Any:
        wanted = self.size[::-1]
        return image if image.size == wanted else image.resize(wanted, need("PIL.Image", "bench").Resampling.BILINEAR)

    def _scaled(self, values: NDArray[np.float32]) -> NDArray[np.uint8]:
        if not np.isfinite(values).all():
            raise ValueError("it has pixels that are NaN or infinite")
        low, high = self.range or (0.0, 2.0**self.bits - 1)
        if self.range is None and (values.min() < low or values.max() > high):
            raise ValueError(
                f"its values go from {values.min():g} to {values.max():g}, more than {self.bits} bits: give the "
                "values that become black and white by range"
            )
        grey = np.clip((values - low) * (255 / (high - low)), 0, 255)
        # 0.5 is added and the fraction cut off: rounding.
        rounded: NDArray[np.uint8] = (grey + 0.5).astype(np.uint8)
        return rounded

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, for JSON; the default order of colors, limit, depth and bag are left out."""
        return packed(self, ("order", "max_bytes", "bits", "bag"))


@contextmanager
def _opened(path: Path, max_bytes: int) -> Iterator[Any]:
    """Open an image, of which only the header is read; any damage, now or later, raises a ValueError."""
    pil: Any = need("PIL.Image", "bench")
    most = max_bytes // _PIXEL
    if pil.MAX_IMAGE_PIXELS is not None and most > 2 * pil.MAX_IMAGE_PIXELS:
        # Pillow's limit holds for the whole process, and must not be lower than this one.
        pil.MAX_IMAGE_PIXELS = most
    try:
        with quiet(), opened(path) as file, pil.open(file) as image:
            if image.format in _PROGRAMS:
                raise ValueError(
                    f"it is {image.format}, a program that would have to be executed: convert it to a pixel format"
                )
            if (n := image.width * image.height * _PIXEL) > max_bytes:
                raise ValueError(
                    f"{image.width} x {image.height} pixels take {n / 1e9:.3g} GB, the limit of an image is "
                    f"{max_bytes / 1e9:.3g} GB: if the file is as intended, raise it with max_bytes={n}"
                )
            yield image
    except need("PIL", "bench").UnidentifiedImageError as error:
        raise ValueError("cannot identify image file: its content is in no format that Pillow reads") from error
    except pil.DecompressionBombError as error:
        raise ValueError(f"{error}: if the file is as intended, raise the limit max_bytes") from error
    except ValueError:
        raise
    # Decoders raise many kinds of errors for damaged data: struct.error, IndexError, MemoryError ...
    except Exception as error:
        raise ValueError(str(error) or type(error).__name__) from error


def _upright_size(image: Any) -> tuple[int, int]:
    """Width and height after the rotation of EXIF, from the header."""
    width, height = image.size
    return (height, width) if image.getexif().get(_ORIENTATION, 1) >= 5 else (width, height)


def _as_float(image: Any) -> Any:
    """Greyscale of any depth as floating point; Pillow's conversion would clip at 255."""
    if image.mode == "F":
        return image
    return need("PIL.Image", "bench").fromarray(np.asarray(image).astype(np.float32))
