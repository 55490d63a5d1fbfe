"""Small DICOM files."""

from pathlib import Path
from typing import Any

import numpy as np


def write(path: Path, pixels: np.ndarray, **elements: Any) -> Path:
    """A file of one or several frames.

    Args:
        path: The file.
        pixels: Shape (rows, columns), (frames, rows, columns), or (rows, columns, 3) in bytes.
        elements: Others, by keyword.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    path.parent.mkdir(parents=True, exist_ok=True)
    is_color = pixels.ndim == 3 and pixels.shape[-1] == 3 and pixels.dtype == np.uint8
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.Modality, dataset.Manufacturer = "OT", "Maker"
    if pixels.ndim == 3 and not is_color:
        dataset.NumberOfFrames = len(pixels)
    dataset.Rows, dataset.Columns = pixels.shape[:2] if is_color else pixels.shape[-2:]
    dataset.SamplesPerPixel = 3 if is_color else 1
    dataset.PhotometricInterpretation = "RGB" if is_color else "MONOCHROME2"
    if is_color:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    for keyword, value in elements.items():
        if keyword == "TransferSyntaxUID":
            dataset.file_meta.TransferSyntaxUID = value
            if value != ExplicitVRLittleEndian and "Deflated" not in UID(value).name:
                dataset.PixelData = encapsulate([dataset.PixelData])
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def series(folder: Path, voxels: np.ndarray, thickness: float = 2.0, **elements: Any) -> Path:
    """A folder with an axial series, its files in another order than its slices.

    Args:
        folder: The folder.
        voxels: Shape (rows, columns, slices).
        thickness: Distance between slices.
        elements: Others, by keyword.
    """
    for i in range(voxels.shape[-1]):
        common = {
            "SeriesInstanceUID": "1.2.3",
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "ImagePositionPatient": [-10, -20, thickness * i],
            "PixelSpacing": [0.5, 0.75],
            "SliceThickness": 9,
        }
        write(
            folder / f"IM{(i * 7) % voxels.shape[-1]:03d}",
            np.ascontiguousarray(voxels[..., i]),
            **{**common, **elements},
        )
    return folder
