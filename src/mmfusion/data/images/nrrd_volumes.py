"""NRRD volumes with header and voxels in one file; pynrrd reads the header."""

import math
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.images.foreign_files import opened, quiet
from mmfusion.data.images.volume_formats import VolumeHeader, directions_of
from mmfusion.utils.optional import need

_MAGIC = b"NRRD"
_TYPES: Final = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_AXES = {"right": 1, "left": -1, "anterior": 1, "posterior": -1, "superior": 1, "inferior": -1}
_LETTERS = {name[0].upper(): name for name in _AXES}
_ENCODINGS = {"raw": False, "gzip": True, "gz": True}
"""Encodings that are read, and whether they are compressed."""


class Nrrd:
    """NRRD files."""

    @property
    def decoder(self) -> str:
        """The decoding library with its version: another version may give other bits."""
        return f"pynrrd {need('nrrd', 'nrrd').__version__}"

    def header(self, path: Path) -> VolumeHeader:
        """The header of a file.

        Raises:
            ValueError: If it is damaged, not NRRD, its voxels are in another file, or stored in a way that is not read.
        """
        with _opened(path) as file:
            return _described(_fields(file), file.tell(), path)

    def voxels(self, path: Path, header: VolumeHeader) -> NDArray[np.float32]:
        """The voxels.

        Raises:
            ValueError: If the file is damaged or truncated.
        """
        n_bytes = math.prod(header.shape) * header.dtype.itemsize
        with _opened(path) as file:
            is_compressed = _ENCODINGS[str(_fields(file)["encoding"]).lower()]
            # No byte beyond the last voxel: some kilobytes may be the start of gigabytes.
            content = _decompressed(file, n_bytes) if is_compressed else file.read(n_bytes)
            if len(content) < n_bytes:
                raise EOFError(f"it ends after {len(content)} of {n_bytes} bytes of voxels")
        voxels = np.frombuffer(content, header.dtype).reshape(header.shape, order="F")
        return voxels.reshape(voxels.shape[:3]).astype(np.float32)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file; any damage, now or later, raises a ValueError."""
    need("nrrd", "nrrd")
    try:
        with quiet(), opened(path) as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise ValueError("not an NRRD volume: expected NRRD at its beginning")
            file.seek(0)
            yield file
    # pynrrd, zlib and numpy raise many kinds of errors for damaged data.
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(text if "NRRD" in text else f"not an NRRD volume, damaged or truncated: {text}") from error


def _fields(file: BinaryIO) -> Mapping[str, Any]:
    """The fields of the header, after which the voxels follow."""
    fields: dict[str, Any] = dict(need("nrrd", "nrrd").read_header(file))
    if any(name in fields for name in ("data file", "datafile")):
        raise ValueError("this NRRD header has its voxels in another file: store both in one (.nrrd)")
    if str(fields.get("encoding")).lower() not in _ENCODINGS:
        raise ValueError(f"this NRRD file has the encoding {fields.get('encoding')}: store it as raw or gzip")
    if any(int(fields.get(name, 0)) for name in ("line skip", "lineskip", "byte skip", "byteskip")):
        raise ValueError("this NRRD file skips lines or bytes before its voxels: store it without")
    return fields


def _described(fields: Mapping[str, Any], before: int, path: Path) -> VolumeHeader:
    shape = tuple(int(n) for n in fields["sizes"])
    name = str(fields["type"]).lower()
    code = next((code for code, names in _TYPES.items() if name in names), None)
    if code is None:
        raise ValueError(f"this NRRD file has voxels of type {name!r}, expected one number each")
    order = ">" if str(fields.get("endian", "little")).lower() == "big" else "<"
    axes = np.atleast_2d(np.asarray(fields.get("space directions", np.empty((0, 3))), dtype=np.float64))
    axes = axes[np.isfinite(axes).all(1)] if axes.shape[-1] == 3 else np.empty((0, 3))
    spacing = np.linalg.norm(axes, axis=1) if len(axes) else np.asarray(fields.get("spacings", ()), dtype=np.float64)
    known = [float(n) if math.isfinite(n) else 0.0 for n in spacing[:3]]
    turned = _in_ras(axes, str(fields.get("space", ""))) if len(axes) == 3 <= len(shape) else None
    return VolumeHeader(
        shape,
        np.dtype(order + code),
        tuple(known) if len(known) == 3 else (0.0, 0.0, 0.0),
        None if turned is None else directions_of(turned.tolist()),
        before,
        {"ending": path.suffix, "compression": str(fields["encoding"])},
    )


def _in_ras(axes: NDArray[np.float64], space: str) -> NDArray[np.float64] | None:
    """Directions of the axes as right, anterior and superior; None if the space is not anatomical.

    Args:
        axes: Shape ``(3, 3)``, one row per axis.
        space: Such as ``"left-posterior-superior"`` or ``"LPS"``.
    """
    is_short = len(space) == 3 and space.isupper()
    names = [_LETTERS.get(letter, "") for letter in space] if is_short else space.lower().split("-")[:3]
    if len(names) != 3 or not all(name in _AXES for name in names):
        return None
    order = [list(_AXES).index(name) // 2 for name in names]
    if sorted(order) != [0, 1, 2]:
        return None
    turned = np.empty((3, 3))
    for column, (axis, name) in enumerate(zip(order, names)):
        turned[:, axis] = axes[:, column] * _AXES[name]
    return turned


def _decompressed(file: BinaryIO, n_bytes: int) -> bytes:
    inflate = zlib.decompressobj(wbits=31)
    content = bytearray()
    while len(content) < n_bytes and not inflate.eof and (chunk := inflate.unconsumed_tail or file.read(2**16)):
        content += inflate.decompress(chunk, n_bytes - len(content))
    return bytes(content)
