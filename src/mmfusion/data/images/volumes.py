"""Volumes: files of several formats, read to one size and one order of axes."""

import math
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from mmfusion.data.images.dicom_volumes import DicomVolume, files_of
from mmfusion.data.images.listing import Listing
from mmfusion.data.images.nifti import Nifti
from mmfusion.data.images.nrrd_volumes import Nrrd
from mmfusion.data.images.orientation import Turn, check_orientation, extreme_axis, turn_to, turned_codes
from mmfusion.data.images.resampling import resampled, resized_map
from mmfusion.data.images.source import Bytes, Folders, Most, Properties, find_file, packed
from mmfusion.data.images.volume_formats import VolumeFormat, VolumeFormatName, VolumeHeader
from mmfusion.option_checks import check_fields
from mmfusion.options import Pixels, Positive, Span
from mmfusion.spec import Image

MAX_BYTES: Final = 2**31
"""Limit of a volume's memory before it is resized: a header of 352 bytes can claim any number of voxels."""
_ORDER = "hws"
_AXES = ("height", "width", "slices")
_FLOAT = 4
_FORMATS: Final[dict[VolumeFormatName, VolumeFormat]] = {"nifti": Nifti(), "dicom": DicomVolume(), "nrrd": Nrrd()}


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
    """Location and decoding of a modality's volumes: NIfTI files, gzipped or not, NRRD, or DICOM.

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
        format: ``"nifti"``; ``"nrrd"``; ``"dicom"``, files of several frames or folders with the slices of one series.
        resample: Whether each volume is interpolated to ``spacing`` by the spacing in its header, and cut or filled to
            ``size`` around its center, so that a structure keeps its size.
        bag: Most volumes of a case; above 1 a cell may name several.
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
    format: VolumeFormatName = "nifti"
    resample: bool = False
    bag: Most = field(default=1, kw_only=True)

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
        if self.resample and self.spacing is None:
            raise ValueError("VolumeSource expects a spacing to resample to, got none")

    @property
    def spec(self) -> Image:
        """One channel, size, spacing and most volumes of a case, for models."""
        return Image(1, self.size, self.spacing, self.bag)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored voxels: float16."""
        return np.dtype(np.float16)

    @property
    def decoder(self) -> str:
        """The decoding library with its version: another version may give other bits."""
        return self._format.decoder

    @property
    def _format(self) -> VolumeFormat:
        return _FORMATS[self.format]

    @property
    def _expected(self) -> tuple[int, int, int] | None:
        if isinstance(self.shape, str):
            return None
        return self.size if self.shape is None else self.shape

    def find(self, root: Path, name: str, listing: Listing | None = None) -> Path | None:
        """The file of that name in the first folder that has it; of DICOM a folder, too."""
        listing = listing or Listing()
        file = find_file(root, self.folders, (f"{name}{self.suffix}",), listing)
        if file is None and self.format == "dicom":
            names = (os.path.join(folder, f"{name}{self.suffix}") for folder in self.folders)
            return next((found for each in names if (found := listing.folder(root, each)) is not None), None)
        return file

    def files(self, path: Path) -> tuple[Path, ...]:
        """All files that :meth:`decode` reads for a path of :meth:`find`."""
        return files_of(path) if self.format == "dicom" else (path,)

    def probe(self, path: Path) -> None:
        """Check a file by its header only.

        Raises:
            ValueError: If it is not of the format, or :meth:`decode` does not accept its shape, type or size.
        """
        self._checked(self._format.header(path))

    def properties(self, path: Path) -> Properties:
        """Type of the voxels, shape, spacing and orientation of a file, and the program or device that it names.

        Raises:
            ValueError: As :meth:`probe`.
        """
        header = self._format.header(path)
        axes = self._axes_of(header)
        return {
            "voxels": str(header.dtype),
            **{name: float(n) for name, n in zip(_AXES, axes.shape)},
            **{f"spacing of {name}": float(n) for name, n in zip(_AXES, axes.spacing)},
            "orientation": axes.directions or "none",
            **header.properties,
        }

    def decode(self, path: Path) -> NDArray[Any]:
        """The volume's voxels, shape ``(1, height, width, slices)`` float16.

        Raises:
            ValueError: If the file cannot be decoded, its voxels are not numbers or exceed ``max_bytes``, its shape is
                not as expected, or a voxel is NaN, infinite, or too large for float16.
        """
        header = self._format.header(path)
        turn = self._checked(header)
        voxels = np.flip(self._format.voxels(path, header).transpose(turn.order), turn.flipped)
        if n_odd := int(np.count_nonzero(~np.isfinite(voxels))):
            raise ValueError(f"{n_odd} of {voxels.size} voxels are NaN or infinite")
        if self.clip is not None:
            voxels = voxels.clip(*self.clip)
        if self.resample and self.spacing is not None:
            voxels = resampled(voxels, [header.spacing[axis] for axis in turn.order], self.spacing, self.size)
        elif voxels.shape != self.size:
            x = torch.from_numpy(np.ascontiguousarray(voxels))[None, None]
            voxels = F.interpolate(x, size=self.size, mode="trilinear", align_corners=False)[0, 0].numpy()
        most = np.finfo(np.float16).max
        if np.abs(voxels).max() > most:
            raise ValueError(
                f"its values go from {voxels.min():g} to {voxels.max():g}, and voxels are stored in float16, up to "
                f"{most:g}: give a clip"
            )
        return np.ascontiguousarray(voxels, dtype=np.float16)[None]

    def file_map(self, path: Path, heat: NDArray[np.float32]) -> NDArray[np.float32]:
        """A map of the decoded volume at the file's shape and axes; zeros where resampling cut the file.

        Args:
            path: The file.
            heat: Shape ``(height, width, slices)`` of :meth:`decode`.

        Raises:
            ValueError: As :meth:`probe`.
        """
        header = self._format.header(path)
        turn = self._checked(header)
        shape = tuple(header.shape[axis] for axis in turn.order)
        if self.resample and self.spacing is not None:
            spacing = [header.spacing[axis] for axis in turn.order]
            turned = resampled(heat, self.spacing, spacing, (shape[0], shape[1], shape[2]), fill=0.0)
        else:
            turned = resized_map(heat, shape)
        back = np.flip(turned, turn.flipped).transpose(np.argsort(turn.order))
        return np.ascontiguousarray(back).reshape(header.shape)

    def at_file_size(self, path: Path) -> "VolumeSource":
        """The same source for volumes of the file's voxels; itself where they are resampled to a spacing.

        Raises:
            ValueError: As :meth:`probe`.
        """
        if self.resample:
            return self
        axes = self.axes_of(path)
        height, width, slices = axes.shape
        known = all(0 < n < math.inf for n in axes.spacing)
        return replace(
            self,
            size=(height, width, slices),
            shape=self.shape or self.size,
            spacing=(axes.spacing[0], axes.spacing[1], axes.spacing[2]) if known else self.spacing,
        )

    def axes_of(self, path: Path) -> Axes:
        """A file's axes by its header, in the order that :meth:`decode` gives them.

        Raises:
            ValueError: As :meth:`probe`.
        """
        return self._axes_of(self._format.header(path))

    def _axes_of(self, header: VolumeHeader) -> Axes:
        turn = self._turn(header)
        return Axes(
            None if header.directions is None else turned_codes(header.directions, turn),
            tuple(header.shape[axis] for axis in turn.order),
            tuple(header.spacing[axis] for axis in turn.order),
        )

    def _checked(self, header: VolumeHeader) -> Turn:
        """The turn of the file's axes to height, width and slices."""
        shape, kind = header.shape, header.dtype
        turn = self._turn(header)
        if kind.kind not in "iufb":
            what = "colors" if kind.fields else f"{kind} numbers"
            raise ValueError(f"its voxels are {what}, expected one real number each: convert it to grey values")
        size = math.prod(shape) * max(kind.itemsize, _FLOAT)
        if size > self.max_bytes or header.before > self.max_bytes:
            raise ValueError(
                f"{' x '.join(map(str, shape))} voxels take {size / 1e9:.3g} GB"
                + (f" after {header.before / 1e9:.3g} GB of other content" if header.before > self.max_bytes else "")
                + f", the limit of a volume is {self.max_bytes / 1e9:.3g} GB: if the file is as intended, raise "
                f"it with max_bytes={max(size, header.before)}"
            )
        if self.resample and not all(0 < n < math.inf for n in header.spacing[:3]):
            raise ValueError(
                f"its header has no spacing to resample from, got {header.spacing[:3]}: correct the header, or leave "
                "out the spacing"
            )
        return turn

    def _turn(self, header: VolumeHeader) -> Turn:
        """The turn of the file's axes to height, width and slices."""
        shape, current = header.shape, None if self.orientation is None else header.directions
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
                if expected is None and not self.resample:
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
        """Plain dictionaries and lists, for JSON; the default limit, orientation, format and bag are left out."""
        return packed(self, ("max_bytes", "orientation", "format", "resample", "bag"))
