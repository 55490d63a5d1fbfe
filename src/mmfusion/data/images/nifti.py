"""NIfTI volumes in single files, gzipped or not."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.images.foreign_files import decompressed, quiet
from mmfusion.data.images.orientation import directions
from mmfusion.data.images.volume_formats import VolumeHeader
from mmfusion.utils.optional import need

_HEADERS = {348: b"n+1\0", 540: b"n+2\0"}
"""The magic of single files by the length of the header, which is its first number."""
_BEHIND = 2**20
"""Most bytes that may follow the last voxel of a file."""


class Nifti:
    """NIfTI files."""

    @property
    def decoder(self) -> str:
        """The decoding library with its version: another version may give other bits."""
        return f"nibabel {need('nibabel', 'medical').__version__}"

    def header(self, path: Path) -> VolumeHeader:
        """The header of a file; no byte beyond it is read.

        Raises:
            ValueError: If it is damaged, or not a NIfTI file.
        """
        with _opened(path) as content:
            header = _header(content)
            return VolumeHeader(
                tuple(int(n) for n in header.get_data_shape()),
                header.get_data_dtype(),
                tuple(float(n) for n in header.get_zooms()),
                directions(header),
                int(header.get_data_offset()),
                {
                    "ending": ".nii.gz" if path.name.lower().endswith(".gz") else path.suffix,
                    "program": header["descrip"].item().decode("latin-1").strip("\0 "),
                },
            )

    def voxels(self, path: Path, header: VolumeHeader) -> NDArray[np.float32]:
        """The voxels, with the header's scale applied.

        Raises:
            ValueError: If the file is damaged, truncated, or has much content after its last voxel.
        """
        nibabel = need("nibabel", "medical")
        n_bytes = header.before + math.prod(header.shape) * header.dtype.itemsize
        with _opened(path) as file:
            content = file.read(n_bytes)
            # To the end of the file, where gzip has its checksum; nibabel would stop at the last voxel.
            if len(file.read(_BEHIND)) == _BEHIND:
                raise ValueError(f"it has more than {_BEHIND} bytes after its last voxel")
            if len(content) < n_bytes:
                raise EOFError(f"it ends after {len(content)} of {n_bytes} bytes")
            is_second = 540 in (int.from_bytes(content[:4], "little"), int.from_bytes(content[:4], "big"))
            image = (nibabel.Nifti2Image if is_second else nibabel.Nifti1Image).from_bytes(content)
            voxels: NDArray[np.float32] = np.asarray(image.get_fdata(dtype=np.float32, caching="unchanged"))
        return voxels.reshape(voxels.shape[:3])


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file's content; any damage, now or later, raises a ValueError."""
    nibabel = need("nibabel", "medical")
    try:
        with quiet(), decompressed(path) as content:
            yield content
    except ValueError:
        raise
    except (nibabel.spatialimages.HeaderDataError, nibabel.wrapstruct.WrapStructError) as error:
        raise ValueError(f"not a NIfTI volume, damaged or truncated: {error}") from error
    # gzip, zlib, numpy and nibabel raise many kinds of errors for damaged data.
    except Exception as error:
        raise ValueError(f"not a NIfTI volume, damaged or truncated: {error or type(error).__name__}") from error


def _header(content: BinaryIO) -> Any:
    """Read the header, and no byte beyond it."""
    nibabel = need("nibabel", "medical")
    start = content.read(max(_HEADERS))
    for code in "<>":
        n = int.from_bytes(start[:4], "little" if code == "<" else "big")
        if n in _HEADERS and len(start) >= n:
            kind = nibabel.Nifti2Header if n == 540 else nibabel.Nifti1Header
            header = kind(start[:n], endianness=code, check=False)
            if bytes(header["magic"].tobytes())[:3] == _HEADERS[n][:3] and 1 <= header["dim"][0] <= 7:
                return kind(start[:n], endianness=code)
    raise ValueError("not a NIfTI volume in a single file, damaged or truncated: no valid header")
