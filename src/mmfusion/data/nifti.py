"""Volumes: NIfTI files to voxels of one size and one order of axes."""

import gzip
import math
import os
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from mmfusion.data.listing import Listing
from mmfusion.layers.optional import need
from mmfusion.spec import Image

_ORDER = "hws"


@dataclass(frozen=True)
class VolumeSource:
    """Where a modality's volumes are (.nii, .nii.gz), and what their voxels become.

    Voxels are stored in float16: integers up to 2,048 exactly, others to three digits, and nothing above 65,504, which
    is an error. Values are the file's own, its header's scale applied: nothing is standardised here. Where a file's
    shape differs from ``size``, it is resized trilinearly, without antialiasing: shrinking to less than half skips
    voxels.

    Attributes:
        column: The table's column with the files' names, or a pattern of several:
            ``"{fold}/{patient}/t1_bbox.nii.gz"``.
        size: ``(height, width, slices)`` in voxels that every volume is brought to; the order of the tensor's axes.
        folders: Folders below the root, searched in order.
        suffix: Appended to each name, ``"/t1_bbox.nii.gz"``; empty where the column has whole file names.
        axes: What a file's axes are, as nibabel gives them: ``"hws"`` slices last, ``"shw"`` slices first, ``"whs"``
            slices last and columns before rows, or any other order of the three letters. ``"auto"``: whichever of "hws"
            and "shw" fits the expected shape.
        shape: ``(height, width, slices)`` that files must have, whatever the order of their axes; None: ``size``;
            "any": they may differ.
        clip: ``(low, high)`` that intensities are clipped to.
        spacing: Distance between neighbours along height, width and slices after resizing, in millimetres, for the
            spec; see :meth:`with_spacing`.
    """

    kind: ClassVar[str] = "volume"

    column: str
    size: tuple[int, int, int]
    folders: tuple[str, ...] = ("",)
    suffix: str = ""
    axes: str = "auto"
    shape: tuple[int, int, int] | Literal["any"] | None = None
    clip: tuple[float, float] | None = None
    spacing: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        for name in ("size", "folders", "shape", "clip", "spacing"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                object.__setattr__(self, name, tuple(value))
        if len(self.size) != 3 or min(self.size) < 1:
            raise ValueError(
                f"VolumeSource expects a size (height, width, slices) of positive numbers, got {self.size}"
            )
        if not self.folders or isinstance(self.folders, str):
            raise ValueError(f'VolumeSource expects folders in a tuple; ("",) is the root itself, got {self.folders!r}')
        if self.axes != "auto" and sorted(self.axes) != sorted(_ORDER):
            raise ValueError(f"VolumeSource expects axes 'auto' or an order of the letters h, w, s, got {self.axes!r}")
        if self.shape not in (None, "any") and (isinstance(self.shape, str) or len(self.shape or ()) != 3):
            raise ValueError(f"VolumeSource expects a shape (height, width, slices), 'any' or None, got {self.shape!r}")
        if self.axes == "auto" and (self._expected is None or len(set(self._expected)) == 1):
            raise ValueError(
                f"VolumeSource cannot tell the axes of volumes of shape {self.shape or self.size} by itself: give axes"
            )
        if self.clip is not None and (len(self.clip) != 2 or not self.clip[0] < self.clip[1]):
            raise ValueError(f"VolumeSource expects a clip (low, high) that rises, got {self.clip}")

    @property
    def spec(self) -> Image:
        """What a model needs to know; one channel."""
        return Image(1, self.size, self.spacing)

    @property
    def dtype(self) -> np.dtype[Any]:
        """How voxels are stored: float16."""
        return np.dtype(np.float16)

    @property
    def decoder(self) -> str:
        """What decodes, with its version: another one may give other bits."""
        return f"nibabel {need('nibabel', 'medical').__version__}"

    @property
    def _expected(self) -> tuple[int, int, int] | None:
        if isinstance(self.shape, str):
            return None
        return self.size if self.shape is None else self.shape

    def find(self, root: Path, name: str, listing: Listing | None = None) -> Path | None:
        """The file of that name in the first folder that has it; see :class:`~mmfusion.data.listing.Listing`."""
        candidates = (os.path.join(folder, f"{name}{self.suffix}") for folder in self.folders)
        return (listing or Listing()).first_file(root, candidates)

    def files(self, path: Path) -> tuple[Path, ...]:
        """All files that are read for what :meth:`find` found: itself."""
        return (path,)

    def probe(self, path: Path) -> None:
        """Look at the file's header alone.

        Raises:
            ValueError: If it is not a NIfTI file, or its shape is not the expected one.
        """
        self._transposition(self._open(path))

    def decode(self, path: Path) -> NDArray[Any]:
        """The volume's voxels, shape ``(1, height, width, slices)`` float16.

        Raises:
            ValueError: If the file cannot be decoded, its shape is not the expected one, or a voxel is NaN, infinite,
                or too large for float16.
        """
        image = self._open(path, whole=True)
        order = self._transposition(image)
        try:
            voxels = np.asarray(image.get_fdata(dtype=np.float32, caching="unchanged"))
        except (OSError, EOFError, ValueError, zlib.error, MemoryError) as error:
            raise ValueError(f"damaged or truncated: {error or type(error).__name__}") from error
        voxels = voxels.reshape(voxels.shape[:3]).transpose(order)
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

    def with_spacing(self, paths: Iterable[Path]) -> "VolumeSource":
        """The same source with the spacing that the files' headers note: of several the median along each axis.

        Args:
            paths: At least one; only their headers are read.

        Raises:
            ValueError: If a header cannot be read or notes a spacing that is not positive; all of them at once.
        """
        noted: list[tuple[float, ...]] = []
        faults: list[str] = []
        for path in paths:
            try:
                image = self._open(path)
                order = self._transposition(image)
                zooms = [float(image.header.get_zooms()[axis]) for axis in order]
                if not all(zoom > 0 and math.isfinite(zoom) for zoom in zooms):
                    raise ValueError(f"its header notes a spacing of {tuple(zooms)}")
                noted.append(tuple(z * image.shape[a] / n for z, a, n in zip(zooms, order, self.size)))
            except (OSError, ValueError) as error:
                faults.append(f"{path} ({error})")
        if faults or not noted:
            raise ValueError(f"the spacing of {len(faults)} volume(s) cannot be read: {'; '.join(faults[:10])}")
        height, width, slices = (float(x) for x in np.median(np.array(noted), axis=0))
        return replace(self, spacing=(height, width, slices))

    def _open(self, path: Path, *, whole: bool = False) -> Any:
        """The header; the voxels stay where they are, unless the whole file is wanted."""
        nibabel = need("nibabel", "medical")
        known = (
            nibabel.filebasedimages.ImageFileError,
            nibabel.spatialimages.HeaderDataError,
            nibabel.wrapstruct.WrapStructError,
        )
        try:
            if not whole or not path.name.endswith(".nii.gz"):
                return nibabel.load(path, mmap=False)
            # Nibabel stops at the last voxel, before the checksum that tells damage.
            content = gzip.decompress(path.read_bytes())
            is_second = 540 in (int.from_bytes(content[:4], order) for order in ("little", "big"))
            return (nibabel.Nifti2Image if is_second else nibabel.Nifti1Image).from_bytes(content)
        except (*known, OSError, EOFError, ValueError, zlib.error) as error:
            raise ValueError(f"not a NIfTI volume, damaged or truncated: {error or type(error).__name__}") from error

    def _transposition(self, image: Any) -> tuple[int, ...]:
        """The file's axes in the order height, width, slices."""
        found, expected = tuple(image.shape), self._expected
        # Some programs write a fourth axis of length 1.
        spatial = found[:3] if all(n == 1 for n in found[3:]) else ()
        for axes in ("hws", "shw") if self.axes == "auto" else (self.axes,):
            order = tuple(axes.index(letter) for letter in _ORDER)
            if len(spatial) == 3 and min(spatial) > 0 and expected in (None, tuple(spatial[axis] for axis in order)):
                return order
        wanted = {"auto": "slices first or last"}.get(self.axes, f"axes {self.axes!r}")
        shape = "three axes" if expected is None else f"(height, width, slices) = {expected}"
        raise ValueError(f"expected {shape}, {wanted}; found shape {found}")

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, for JSON."""
        packed = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {"kind": self.kind, **packed}

    @classmethod
    def from_dict(cls, packed: dict[str, Any]) -> "VolumeSource":
        """The inverse of :meth:`to_dict`."""
        return cls(**{key: value for key, value in packed.items() if key != "kind"})
