"""Volumes: NIfTI files, read to one size and one order of axes."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Final, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from mmfusion.data.images.foreign_files import decompressed, quiet
from mmfusion.data.images.listing import Listing
from mmfusion.data.images.orientation import Turn, check_orientation, directions, extreme_axis, turn_to, turned_codes
from mmfusion.data.images.source import Bytes, Folders, Properties, find_file, packed
from mmfusion.option_checks import check_fields
from mmfusion.options import Pixels, Positive, Span
from mmfusion.spec import Image
from mmfusion.utils.optional import need

MAX_BYTES: Final = 2**31
"""Limit of a volume's memory before it is resized: a header of 352 bytes can claim any number of voxels."""
_ORDER = "hws"
_AXES = ("height", "width", "slices")
_HEADERS = {348: b"n+1\0", 540: b"n+2\0"}
"""The magic of single files by the length of the header, which is its first number."""
_FLOAT = 4
_BEHIND = 2**20
"""Most bytes that may follow the last voxel of a file."""


class Axes(NamedTuple):
    """A file's axes by its header, in the order height, width, slices.

    Attributes:
        directions: One letter each, such as ``"RAS"``; None if the header has none.
        shape: Number of voxels along each.
        spacing: Distance between neighbors, in the header's unit.
    """

    directions: str | None
    shape: tuple[int, ...]
    spacing: tuple[float, ...]


@dataclass(frozen=True)
class VolumeSource:
    """Location and decoding of a modality's volumes: single NIfTI files, gzipped or not.

    Voxels are stored in float16: integers up to 2,048 exactly, others to three digits; values above 65,504 are an
    error. The header's scale is applied, but values are not standardized here. A file whose shape differs from
    ``size`` is resized trilinearly, without antialiasing: shrinking to less than half skips voxels.

    Attributes:
        column: The table's column with the file names, or a pattern of several columns:
            ``"{fold}/{patient}/t1_bbox.nii.gz"``.
        size: ``(height, width, slices)`` in voxels to which every volume is resized; the order of the tensor's axes.
        folders: Folders below the root, searched in order.
        suffix: Appended to each name, ``"/t1_bbox.nii.gz"``; empty if the column has complete file names.
        axes: Order of a file's axes, as nibabel gives them: ``"hws"`` slices last, ``"shw"`` slices first, ``"whs"``
            slices last and columns before rows, or any other order of the three letters. ``"auto"``: whichever of "hws"
            and "shw" fits the expected shape.
        shape: ``(height, width, slices)`` that files must have, whatever the order of their axes; None: ``size``;
            "any": they may differ, but if the slices are the shortest axis of ``size``, they must be the file's, too.
        clip: ``(low, high)`` to which intensities are clipped.
        spacing: Distance between neighbors along height, width and slices after resizing, in millimeters, for the
            spec.
        orientation: Directions of height, width and slices, such as ``"RAS"``: files are turned to them by their
            headers, and ``axes`` is only for files whose header has no directions, which are assumed to have this
            orientation. None: every file is read as it is, whatever its header says.
        max_bytes: Limit of a file's memory, as float32 or in its own type if that is wider; a larger volume is an
            error before its voxels are read.
    """

    kind: ClassVar[str] = "volume"

    column: str
    size: tuple[Pixels, Pixels, Pixels]
    folders: Folders = ("",)
    suffix: str = ""
    axes: str = "auto"
    shape: tuple[Pixels, Pixels, Pixels] | Literal["any"] | None = None
    clip: Span | None = None
    spacing: tuple[Positive, Positive, Positive] | None = None
    max_bytes: Bytes = MAX_BYTES
    orientation: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.axes != "auto" and sorted(self.axes) != sorted(_ORDER):
            raise ValueError(f"VolumeSource expects axes 'auto' or an order of the letters h, w, s, got {self.axes!r}")
        if self.axes == "auto" and (self._expected is None or len(set(self._expected)) == 1):
            raise ValueError(
                f"VolumeSource cannot infer the axes of volumes of shape {self.shape or self.size}: give axes"
            )
        if self.orientation is not None:
            check_orientation(self.orientation)

    @property
    def spec(self) -> Image:
        """One channel, size and spacing, for models."""
        return Image(1, self.size, self.spacing)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored voxels: float16."""
        return np.dtype(np.float16)

    @property
    def decoder(self) -> str:
        """The decoding library with its version: another version may give other bits."""
        return f"nibabel {need('nibabel', 'medical').__version__}"

    @property
    def _expected(self) -> tuple[int, int, int] | None:
        if isinstance(self.shape, str):
            return None
        return self.size if self.shape is None else self.shape

    def find(self, root: Path, name: str, listing: Listing | None = None) -> Path | None:
        """The file of that name in the first folder that has it."""
        return find_file(root, self.folders, (f"{name}{self.suffix}",), listing)

    def files(self, path: Path) -> tuple[Path, ...]:
        """All files that :meth:`decode` reads for a path of :meth:`find`: the path itself."""
        return (path,)

    def probe(self, path: Path) -> None:
        """Check a file by its header only.

        Raises:
            ValueError: If it is not a NIfTI file, or :meth:`decode` does not accept its shape, type or size.
        """
        with _opened(path) as content:
            self._checked(_header(content))

    def properties(self, path: Path) -> Properties:
        """Type of the voxels, shape, spacing and orientation of a file, and the program that it names.

        Raises:
            ValueError: As :meth:`probe`.
        """
        with _opened(path) as content:
            header = _header(content)
        axes = self.axes_of(path)
        return {
            "ending": ".nii.gz" if path.name.lower().endswith(".gz") else path.suffix,
            "voxels": str(header.get_data_dtype()),
            **{name: float(n) for name, n in zip(_AXES, axes.shape)},
            **{f"spacing of {name}": float(n) for name, n in zip(_AXES, axes.spacing)},
            "orientation": axes.directions or "none",
            "program": header["descrip"].item().decode("latin-1").strip("\0 "),
        }

    def decode(self, path: Path) -> NDArray[Any]:
        """The volume's voxels, shape ``(1, height, width, slices)`` float16.

        Raises:
            ValueError: If the file cannot be decoded, its voxels are not numbers or exceed ``max_bytes``, its shape is
                not as expected, or a voxel is NaN, infinite, or too large for float16.
        """
        nibabel = need("nibabel", "medical")
        with _opened(path) as file:
            header = _header(file)
            turn, n_bytes = self._checked(header)
            file.seek(0)
            content = file.read(n_bytes)
            # To the end of the file, where gzip has its checksum; nibabel would stop at the last voxel.
            if len(file.read(_BEHIND)) == _BEHIND:
                raise ValueError(f"it has more than {_BEHIND} bytes after its last voxel")
            if len(content) < n_bytes:
                raise EOFError(f"it ends after {len(content)} of {n_bytes} bytes")
            kind = nibabel.Nifti2Image if header["sizeof_hdr"] == 540 else nibabel.Nifti1Image
            image = kind.from_bytes(content)
            voxels = np.asarray(image.get_fdata(dtype=np.float32, caching="unchanged"))
        voxels = np.flip(voxels.reshape(voxels.shape[:3]).transpose(turn.order), turn.flipped)
        if n_odd := int(np.count_nonzero(~np.isfinite(voxels))):
            raise ValueError(f"{n_odd} of {voxels.size} voxels are NaN or infinite")
        if self.clip is not None:
            voxels = voxels.clip(*self.clip)
        if voxels.shape != self.size:
            x = torch.from_numpy(np.ascontiguousarray(voxels))[None, None]
            voxels = F.interpolate(x, size=self.size, mode="trilinear", align_corners=False)[0, 0].numpy()
        most = np.finfo(np.float16).max
        if np.abs(voxels).max() > most:
            raise ValueError(
                f"its values go from {voxels.min():g} to {voxels.max():g}, and voxels are stored in float16, up to "
                f"{most:g}: give a clip"
            )
        return np.ascontiguousarray(voxels, dtype=np.float16)[None]

    def axes_of(self, path: Path) -> Axes:
        """A file's axes by its header, in the order that :meth:`decode` gives them.

        Raises:
            ValueError: As :meth:`probe`.
        """
        with _opened(path) as content:
            header = _header(content)
        turn = self._turn(header)
        current, shape, zooms = directions(header), header.get_data_shape(), header.get_zooms()
        return Axes(
            None if current is None else turned_codes(current, turn),
            tuple(int(shape[axis]) for axis in turn.order),
            tuple(float(zooms[axis]) for axis in turn.order),
        )

    def _checked(self, header: Any) -> tuple[Turn, int]:
        """The turn of the file's axes to height, width and slices, and the number of bytes up to its last voxel."""
        shape, kind = header.get_data_shape(), header.get_data_dtype()
        turn = self._turn(header)
        if kind.kind not in "iufb":
            what = "colors" if kind.fields else f"{kind} numbers"
            raise ValueError(f"its voxels are {what}, expected one real number each: convert it to grey values")
        size = math.prod(shape) * max(kind.itemsize, _FLOAT)
        behind = header.get_data_offset()
        if size > self.max_bytes or behind > self.max_bytes:
            raise ValueError(
                f"{' x '.join(map(str, shape))} voxels take {size / 1e9:.3g} GB"
                + (f" after {behind / 1e9:.3g} GB of other content" if behind > self.max_bytes else "")
                + f", the limit of a volume is {self.max_bytes / 1e9:.3g} GB: if the file is as intended, raise "
                f"it with max_bytes={max(size, behind)}"
            )
        return turn, behind + math.prod(shape) * kind.itemsize

    def _turn(self, header: Any) -> Turn:
        """The turn of the file's axes to height, width and slices."""
        shape, current = header.get_data_shape(), None if self.orientation is None else directions(header)
        expected = self._expected
        # Some programs write a fourth axis of length 1.
        spatial = shape[:3] if all(n == 1 for n in shape[3:]) else ()
        if current is not None and self.orientation is not None:
            turns = [turn_to(self.orientation, current)]
        else:
            named = ("hws", "shw") if self.axes == "auto" else (self.axes,)
            turns = [Turn(tuple(axes.index(letter) for letter in _ORDER)) for axes in named]
        for turn in turns:
            order = turn.order
            if len(spatial) == 3 and min(spatial) > 0 and expected in (None, tuple(spatial[axis] for axis in order)):
                if expected is None:
                    self._check_slices(spatial, order)
                return turn
        order_text = {"auto": "slices first or last"}.get(self.axes, f"axes {self.axes!r}")
        order_text = order_text if current is None else f"turned from {current} to {self.orientation}"
        expectation = "three axes" if expected is None else f"(height, width, slices) = {expected}"
        raise ValueError(f"expected {expectation}, {order_text}; got shape {shape}")

    def _check_slices(self, shape: tuple[int, ...], order: tuple[int, ...]) -> None:
        """Check that a file of any shape has its slices where ``axes`` says, as any shape can be resized to any other.

        Raises:
            ValueError: If another axis of the file is clearly its shortest, as the slices are of ``size``.
        """
        least = extreme_axis(self.size, largest=False)
        expected_axis = order[least] if least >= 0 else -1
        shortest = extreme_axis(shape, largest=False)
        if expected_axis < 0 or shortest in (expected_axis, -1):
            return
        raise ValueError(
            f"got shape {shape}, whose axis {shortest} is the shortest; by axes {self.axes!r} and size {self.size} it "
            f"should be axis {expected_axis}: give the axes that the files have, or a size in their proportions"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, for JSON; the default limit and orientation are left out."""
        return packed(self, ("max_bytes", "orientation"))


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
