"""DICOM files: headers checked before any pixel is decoded, and frames as numbers."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.images.foreign_files import opened, quiet
from mmfusion.data.images.source import Properties
from mmfusion.utils.optional import need

ENDINGS: Final = (".dcm", ".dicom", ".ima")
_PREAMBLE = 128
_MAGIC = b"DICM"
_FLOAT = 4
_MOST_HEADER = 2**26
"""Most bytes in front of the pixels."""
_DEFLATED = "1.2.840.10008.1.2.1.99"
_DECODERS = {
    "JPEG-LS": "pyjpegls",
    "JPEG 2000": "pylibjpeg pylibjpeg-openjpeg",
    "JPEG2000": "pylibjpeg pylibjpeg-openjpeg",
    "JPEG": "python-gdcm",
}
"""Packages that decode a family of transfer syntaxes, by a part of their names; the first one that fits."""
_NAMED = {
    "Modality": "modality",
    "Manufacturer": "maker",
    "ManufacturerModelName": "device",
    "StationName": "station",
    "InstitutionName": "institution",
    "SoftwareVersions": "program",
    "ConvolutionKernel": "kernel",
    "ProtocolName": "protocol",
    "PhotometricInterpretation": "pixels",
    "KVP": "tube voltage",
    "MagneticFieldStrength": "field strength",
    "BitsStored": "bits",
    "BurnedInAnnotation": "burned-in annotation",
}


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM does; False if it cannot be read."""
    try:
        with opened(path) as file:
            return file.read(_PREAMBLE + len(_MAGIC))[_PREAMBLE:] == _MAGIC
    except (OSError, ValueError):
        return False


@contextmanager
def errors_of_dicom() -> Iterator[None]:
    """Any error in reading a file as a ValueError in one line; decorates what is called with a file.

    An element may have any number of values of any type, whatever the standard says of it.
    """
    need("pydicom", "dicom")
    try:
        with quiet():
            yield
    except ImportError:
        raise
    except ValueError as error:
        raise ValueError(_one_line(error)) from error
    # pydicom and its decoders raise many kinds of errors for damaged data.
    except Exception as error:
        raise ValueError(f"not a DICOM image, damaged or truncated: {_one_line(error)}") from error


def header_of(path: Path) -> Any:
    """The elements of a file before its pixels, of which there are some that can be decoded here.

    Raises:
        ValueError: If it is not DICOM, has no pixels, or no installed package decodes them.
    """
    pydicom = need("pydicom", "dicom")
    with opened(path) as file:
        if file.read(_PREAMBLE + len(_MAGIC))[_PREAMBLE:] != _MAGIC:
            raise ValueError(f"not a DICOM file: expected {_MAGIC.decode()} after {_PREAMBLE} bytes")
        file.seek(0)
        # Deflated elements may take any amount of memory: the syntax comes before them.
        meta = pydicom.filereader.read_file_meta_info(path)
        if meta.get("TransferSyntaxUID") == _DEFLATED:
            raise ValueError("its elements are compressed (deflated): store it without, as explicit VR little endian")
        header = pydicom.dcmread(file, stop_before_pixels=True, defer_size=_MOST_HEADER)
        header.file_meta = meta
        if "Rows" not in header or "Columns" not in header:
            kind = header.get("SOPClassUID")
            raise ValueError(f"it has no image: its kind is {getattr(kind, 'name', None) or 'unknown'}")
        _require_decoder(meta.get("TransferSyntaxUID"))
        return header


def _require_decoder(syntax: Any) -> None:
    if syntax is None:
        raise ValueError("its header names no transfer syntax: it is damaged")
    pixels = need("pydicom.pixels", "dicom")
    name = str(syntax.name)
    try:
        decoder = pixels.get_decoder(syntax)
    except NotImplementedError as error:
        raise ValueError(f"its pixels are stored as {name}, which cannot be decoded: convert it") from error
    if not decoder.is_available:
        package = next((package for part, package in _DECODERS.items() if part in name), "pylibjpeg")
        raise ValueError(f"its pixels are compressed as {name}, and no decoder is installed: pip install {package}")


def n_frames(header: Any) -> int:
    """Number of images in a file, at least 1."""
    return max(1, int(header.get("NumberOfFrames") or 1))


def check_memory(header: Any, frames: int, max_bytes: int) -> None:
    """Check what frames take as float32, or in their own type if that is wider.

    Raises:
        ValueError: If it is more than the limit.
    """
    samples = int(header.get("SamplesPerPixel") or 1)
    shape = (frames, int(header.Rows), int(header.Columns), samples)
    if min(shape) < 1:
        raise ValueError(f"its header has {shape[1]} rows and {shape[2]} columns: it is damaged")
    size = math.prod(shape) * max(_FLOAT, int(header.get("BitsAllocated") or 16) // 8)
    if size > max_bytes:
        raise ValueError(
            f"{frames} frame(s) of {shape[2]} x {shape[1]} pixels take {size / 1e9:.3g} GB, the limit is "
            f"{max_bytes / 1e9:.3g} GB: if the file is as intended, raise it with max_bytes={size}"
        )


def read_frames(path: Path, frame: int | None = None) -> tuple[Any, NDArray[Any]]:
    """The elements of a file, and its pixels as they are stored, colors as RGB.

    Args:
        path: The file, checked by :func:`header_of` and :func:`check_memory`.
        frame: The only frame that is decoded, from 0; None: all.

    Returns:
        The elements; the pixels, shape ``(frames, rows, columns)`` or, of colors, ``(frames, rows, columns, 3)``.

    Raises:
        ValueError: If the pixels cannot be decoded.
    """
    pydicom = need("pydicom", "dicom")
    with opened(path) as file:
        header = pydicom.dcmread(file)
        pixels: NDArray[Any] = need("pydicom.pixels", "dicom").pixel_array(header, index=frame)
        if header.get("PhotometricInterpretation") == "PALETTE COLOR":
            colors = need("pydicom.pixels", "dicom").apply_color_lut(pixels, header)
            pixels = colors if colors.dtype == np.uint8 else (colors >> 8).astype(np.uint8)
    is_color = pixels.ndim > 2 and pixels.shape[-1] in (3, 4) and n_samples(header) > 1
    shape = pixels.shape[-3:] if is_color else pixels.shape[-2:]
    if shape[:2] != (int(header.Rows), int(header.Columns)):
        raise ValueError(
            f"its pixels have shape {pixels.shape}, its header {header.Rows} rows, {header.Columns} columns"
        )
    return header, pixels.reshape(-1, *shape)


def n_samples(header: Any) -> int:
    """Numbers of a decoded pixel: 1 for grey."""
    return 3 if header.get("PhotometricInterpretation") == "PALETTE COLOR" else int(header.get("SamplesPerPixel") or 1)


def is_inverted(header: Any) -> bool:
    """Whether the smallest value is white."""
    return bool(header.get("PhotometricInterpretation") == "MONOCHROME1")


def of_frame(header: Any, frame: int, group: str) -> Any:
    """A functional group of a frame, such as ``"PixelMeasuresSequence"``; the elements themselves if there is none.

    Args:
        header: The elements of the file.
        frame: The frame, from 0.
        group: Keyword of the group.
    """
    own = header.get("PerFrameFunctionalGroupsSequence") or ()
    shared = header.get("SharedFunctionalGroupsSequence") or ()
    for groups in (own[frame : frame + 1], shared[:1]):
        for entry in groups:
            if found := entry.get(group):
                return found[0]
    return header


def rescaled(header: Any, frame: int, values: NDArray[Any]) -> NDArray[np.float32]:
    """Stored values of a frame in the units of its device, such as Hounsfield units."""
    if header.get("ModalityLUTSequence"):
        return np.asarray(need("pydicom.pixels", "dicom").apply_modality_lut(values, header), dtype=np.float32)
    of = of_frame(header, frame, "PixelValueTransformationSequence")
    slope, intercept = of.get("RescaleSlope"), of.get("RescaleIntercept")
    scaled = values.astype(np.float32)
    if slope is not None or intercept is not None:
        scaled = scaled * np.float32(1 if slope is None else slope) + np.float32(intercept or 0)
    if not np.isfinite(scaled).all():
        raise ValueError("its rescaled values are not finite: its header is damaged")
    return scaled


def stored_range(header: Any) -> NDArray[np.int64]:
    """The least and greatest value that a pixel can have, as it is stored."""
    bits = int(header.get("BitsStored") or header.get("BitsAllocated") or 16)
    if int(header.get("PixelRepresentation") or 0):
        return np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1])
    return np.array([0, 2**bits - 1])


def numbers(value: Any) -> list[float]:
    """An element of one or several numbers as a list; empty if it is absent or not finite."""
    several = isinstance(value, Sequence) and not isinstance(value, str)
    try:
        values = [] if value is None else [float(each) for each in (value if several else [value])]
    except (TypeError, ValueError):
        return []
    return values if all(map(math.isfinite, values)) else []


def dicom_properties(path: Path, header: Any) -> Properties:
    """Device, protocol, depth and compression, as the header names them."""
    properties: dict[str, str | float] = {"ending": path.suffix}
    for keyword, name in _NAMED.items():
        value = header.get(keyword)
        if value is not None and str(value).strip():
            properties[name] = str(value).strip()
    syntax = header.file_meta.get("TransferSyntaxUID")
    properties["compression"] = str(getattr(syntax, "name", "none"))
    return properties


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
