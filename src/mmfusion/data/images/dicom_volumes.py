"""DICOM volumes: the frames of one file, or the slices of a series in a folder."""

from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.images.dicom_files import (
    check_memory,
    dicom_properties,
    errors_of_dicom,
    header_of,
    is_dicom,
    is_inverted,
    n_frames,
    n_samples,
    numbers,
    of_frame,
    read_frames,
    rescaled,
    stored_range,
)
from mmfusion.data.images.volume_formats import VolumeHeader, directions_of
from mmfusion.utils.optional import need

_UNEVEN: Final = 0.1
"""Largest relative difference of the distances between neighboring slices."""
_MOST_SLICES: Final = 10_000


class _Slice(NamedTuple):
    """A slice of a volume.

    Attributes:
        path: Its file.
        frame: Its frame there.
        position: Along the normal of the slices, in millimeters; None if the header has none.
    """

    path: Path
    frame: int
    position: float | None


class DicomVolume:
    """Files of several frames, and folders of one series; the axes are height, width and slices."""

    @property
    def decoder(self) -> str:
        """The decoding library with its version: another version may give other bits."""
        return f"pydicom {need('pydicom', 'dicom').__version__}"

    @errors_of_dicom()
    def header(self, path: Path) -> VolumeHeader:
        """The header of a file, or of the first slice of a series.

        Raises:
            ValueError: If files are damaged, of several series or sizes, in color, or slices are missing.
        """
        header, slices = _slices(path)
        measures = of_frame(header, 0, "PixelMeasuresSequence")
        axes = _axes(header)
        spacing = numbers(measures.get("PixelSpacing") or header.get("ImagerPixelSpacing"))
        thickness = (
            _distance(slices)
            or (numbers(header.get("SpacingBetweenSlices") or measures.get("SliceThickness")) or [0.0])[0]
        )
        directions = None if axes is None or slices[0].position is None else directions_of([*axes, _normal(axes)])
        return VolumeHeader(
            (int(header.Rows), int(header.Columns), len(slices)),
            np.dtype(np.float32),
            (*(spacing if len(spacing) == 2 else (0.0, 0.0)), thickness),
            directions,
            0,
            dicom_properties(slices[0].path, header),
        )

    @errors_of_dicom()
    def voxels(self, path: Path, header: VolumeHeader) -> NDArray[np.float32]:
        """The voxels, rescaled; inverted where the smallest value is white.

        Raises:
            ValueError: If a file cannot be decoded.
        """
        _, slices = _slices(path)
        voxels = np.empty(header.shape, dtype=np.float32)
        files: dict[Path, list[int]] = {}
        for place, of in enumerate(slices):
            files.setdefault(of.path, []).append(place)
        for file, places in files.items():
            elements, frames = read_frames(file)
            for place in places:
                frame = slices[place].frame
                values = rescaled(elements, frame, frames[frame])
                if is_inverted(elements):
                    values = rescaled(elements, frame, stored_range(elements)).sum() - values
                voxels[..., place] = values
        return voxels


def files_of(path: Path) -> tuple[Path, ...]:
    """The files of a volume: the file itself, or the DICOM files of a folder, by name."""
    if not path.is_dir():
        return (path,)
    files = sorted(file for file in path.iterdir() if not file.name.startswith(".") and is_dicom(file))
    if len(files) > _MOST_SLICES:
        raise ValueError(f"it has {len(files)} DICOM files, expected at most {_MOST_SLICES} slices")
    return tuple(files)


def _slices(path: Path) -> tuple[Any, list[_Slice]]:
    """The header of the first slice, and all slices in order."""
    files = files_of(path)
    if not files:
        raise ValueError("the folder has no DICOM file")
    headers = [header_of(file) for file in files]
    first = headers[0]
    check_memory(first, 1, 2**50)
    for name in ("SeriesInstanceUID", "Rows", "Columns"):
        if len(values := {str(header.get(name)) for header in headers}) > 1:
            raise ValueError(
                f"its {len(files)} files have {len(values)} different values of {name}: put each series into a folder "
                "of its own"
            )
    if any(n_samples(header) > 1 for header in headers):
        raise ValueError("its voxels are colors, expected one real number each: convert it to grey values")
    slices = [
        _Slice(file, frame, _position(header, frame))
        for file, header in zip(files, headers)
        for frame in range(n_frames(header))
    ]
    if all(of.position is not None for of in slices):
        order = sorted(range(len(slices)), key=lambda i: slices[i].position or 0.0)
        slices = [slices[i] for i in order]
        _check_distances(slices)
        first = headers[files.index(slices[0].path)]
    elif len(files) > 1:
        order = sorted(range(len(files)), key=lambda i: int(headers[i].get("InstanceNumber") or 0))
        slices = [of for i in order for of in slices if of.path == files[i]]
    return first, slices


def _axes(header: Any, frame: int = 0) -> list[list[float]] | None:
    """Directions of height and width: right, anterior, superior."""
    plane = of_frame(header, frame, "PlaneOrientationSequence")
    cosines = numbers(plane.get("ImageOrientationPatient"))
    if len(cosines) != 6:
        return None
    # DICOM has left, posterior and superior; its first three are along a row, so along the width.
    return [[-cosines[3], -cosines[4], cosines[5]], [-cosines[0], -cosines[1], cosines[2]]]


def _normal(axes: list[list[float]]) -> list[float]:
    """The direction in which the slices follow each other."""
    height, width = (np.asarray(axis) for axis in axes)
    # Of DICOM's own axes it is width x height; here two of three coordinates have the other sign.
    normal: list[float] = (np.cross(width, height)).tolist()
    return normal


def _position(header: Any, frame: int) -> float | None:
    axes = _axes(header, frame)
    place = numbers(of_frame(header, frame, "PlanePositionSequence").get("ImagePositionPatient"))
    if axes is None or len(place) != 3:
        return None
    return float(np.dot([-place[0], -place[1], place[2]], _normal(axes)))


def _distance(slices: list[_Slice]) -> float:
    """The distance between neighboring slices; 0 if it is unknown."""
    positions = [of.position for of in slices if of.position is not None]
    return float(np.median(np.diff(positions))) if len(positions) == len(slices) > 1 else 0.0


def _check_distances(slices: list[_Slice]) -> None:
    distances = np.diff([of.position or 0.0 for of in slices])
    if len(distances) and (distances.min() <= 0 or distances.max() > (1 + _UNEVEN) * np.median(distances)):
        place = int(np.argmin(distances) if distances.min() <= 0 else np.argmax(distances))
        what = "are at one place" if distances.min() <= 0 else f"are {distances[place]:.3g} mm apart"
        raise ValueError(
            f"its slices are uneven: {slices[place].path.name} and {slices[place + 1].path.name} {what}, the median is "
            f"{np.median(distances):.3g} mm: slices are missing, or the folder has several volumes"
        )
