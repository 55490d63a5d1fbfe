"""DICOM images and volumes."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

pytest.importorskip("pydicom")

from helpers import dicom
from mmfusion.data.datasets.check import check
from mmfusion.data.datasets.faults import DatasetError
from mmfusion.data.datasets.table import TableDataset
from mmfusion.data.images.cache import ImageCache
from mmfusion.data.images.dicom_images import DicomSource, windowed
from mmfusion.data.images.sources import load_images, source_from_dict
from mmfusion.data.images.volumes import VolumeSource

CT = {"RescaleSlope": 2, "RescaleIntercept": -1000, "BitsStored": 12, "HighBit": 11}
ROW = np.array([[0, 500, 520, 540, 4095]], dtype=np.uint16)
"""As rescaled: -1000, 0, 40, 80, 7190."""


def decoded(path: Path, size: tuple[int, int], **options: Any) -> np.ndarray:
    source = DicomSource("file", size, channels=1, **options)
    source.probe(path)
    return source.decode(path)[0]


@pytest.mark.parametrize(
    ("elements", "options", "expected"),
    [
        ({}, {}, [0, 31, 32, 34, 255]),  # 12 bits
        ({}, {"range": (0, 80)}, [0, 0, 128, 255, 255]),
        ({"WindowCenter": 40.5, "WindowWidth": 81}, {}, [0, 0, 128, 255, 255]),
        ({"WindowCenter": [40.5, 9], "WindowWidth": [81, 9]}, {}, [0, 0, 128, 255, 255]),
        ({"WindowCenter": 40, "WindowWidth": 80, "VOILUTFunction": "LINEAR_EXACT"}, {}, [0, 0, 128, 255, 255]),
        ({"WindowCenter": 40, "WindowWidth": 80, "VOILUTFunction": "SIGMOID"}, {}, [0, 30, 128, 225, 255]),
        (
            {"WindowCenter": 40.5, "WindowWidth": 81, "PhotometricInterpretation": "MONOCHROME1"},
            {},
            [255, 255, 128, 0, 0],
        ),
        ({"WindowCenter": 40.5, "WindowWidth": 0}, {}, [0, 31, 32, 34, 255]),
    ],
)
def test_rescaled_windowed_and_inverted(tmp_path: Path, elements, options, expected) -> None:
    path = dicom.write(tmp_path / "a.dcm", ROW, **{**CT, **elements})
    assert decoded(path, (1, 5), **options)[0].tolist() == expected


def test_signed_values_are_scaled(tmp_path: Path) -> None:
    path = dicom.write(tmp_path / "a", np.array([[-2048, 0, 2047]], dtype=np.int16), BitsStored=12, HighBit=11)
    assert decoded(path, (1, 3))[0].tolist() == [0, 128, 255]


def test_window_matches_standard() -> None:
    """PS3.3 C.11.2.1.2.1: of center 2048 and width 4096 the ends are 0 and 4095."""
    assert windowed(np.array([0, 4095], dtype=np.float32), 2048, 4096).tolist() == [0, 255]


def test_window_lookup_table(tmp_path: Path) -> None:
    from pydicom.dataset import Dataset

    table = Dataset()
    table.add_new("LUTDescriptor", "US", [3, 0, 8])
    table.add_new("LUTData", "US", [10, 200, 100])
    path = dicom.write(tmp_path / "a", np.array([[0, 1, 2, 9]], dtype=np.uint16), VOILUTSequence=[table])
    assert decoded(path, (1, 4))[0].tolist() == [10, 200, 100, 100]


def test_color_images_are_decoded(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    path = dicom.write(tmp_path / "a.dcm", pixels)
    result = DicomSource("file", (4, 6)).decode(path)
    assert np.array_equal(result, np.moveaxis(pixels, -1, 0))
    assert DicomSource("file", (2, 3), channels=1).decode(path).shape == (1, 2, 3)


def test_gray_to_three_channels_and_resized(tmp_path: Path) -> None:
    path = dicom.write(tmp_path / "a.dcm", np.full((4, 4), 100, dtype=np.uint8))
    assert (DicomSource("file", (8, 2)).decode(path) == np.full((3, 8, 2), 100)).all()


def test_frames_are_read_as_images(tmp_path: Path) -> None:
    frames = np.stack([np.full((2, 4), 10 * i, dtype=np.uint8) for i in range(5)])
    path = dicom.write(tmp_path / "a.dcm", frames)
    assert (decoded(path, (2, 4), image_frame="middle") == 20).all()
    assert (decoded(path, (2, 4), image_frame=4) == 40).all()
    with pytest.raises(
        ValueError, match=r"has 5 frames: read them as a volume .* or choose one, as in image_frame='middle'"
    ):
        decoded(path, (2, 4))
    with pytest.raises(ValueError, match=r"has 5 frame\(s\), and frame 5 was asked for"):
        decoded(path, (2, 4), image_frame=5)


VOXELS = np.random.default_rng(0).integers(0, 1000, (5, 4, 6)).astype(np.uint16)


def test_frames_are_read_as_volume(tmp_path: Path) -> None:
    path = dicom.write(tmp_path / "a.dcm", np.ascontiguousarray(np.moveaxis(VOXELS, -1, 0)), **CT)
    source = VolumeSource("file", VOXELS.shape, format="dicom", axes="hws")
    assert np.allclose(source.decode(path)[0], VOXELS * 2.0 - 1000)
    inverted = dicom.write(tmp_path / "b", np.moveaxis(VOXELS, -1, 0).copy(), PhotometricInterpretation="MONOCHROME1")
    with pytest.raises(ValueError, match="float16"):
        source.decode(inverted)
    low = dicom.write(tmp_path / "c", np.zeros((6, 5, 4), np.uint8), PhotometricInterpretation="MONOCHROME1")
    assert (source.decode(low) == 255).all()


def test_series_in_folder_is_read_as_volume(tmp_path: Path) -> None:
    dicom.series(tmp_path / "scan", VOXELS)
    (tmp_path / "scan" / "notes.txt").write_text("no slice")
    source = VolumeSource("file", VOXELS.shape, format="dicom", axes="hws")
    path = source.find(tmp_path, "scan")
    assert path == tmp_path / "scan"
    assert len(source.files(path)) == 6
    assert np.array_equal(source.decode(path)[0], VOXELS)
    axes = source.axes_of(path)
    assert axes == ("PLS", (5, 4, 6), (0.5, 0.75, 2.0))
    turned = VolumeSource("file", (4, 5, 6), format="dicom", axes="hws", orientation="RAS", shape="any")
    assert np.array_equal(turned.decode(path)[0], np.moveaxis(VOXELS, 0, 1)[::-1, ::-1])
    assert source_from_dict(json.loads(json.dumps(turned.to_dict()))) == turned
    images, _ = load_images({"a": source}, pd.DataFrame({"file": ["scan"]}), tmp_path, cache=ImageCache(tmp_path / "c"))
    assert np.array_equal(images["a"][torch.tensor([0])][0, 0], VOXELS)


def test_enhanced_frames_are_sorted_by_position(tmp_path: Path) -> None:
    from pydicom.dataset import Dataset

    def of(keyword: str, **elements: Any) -> Dataset:
        group, content = Dataset(), Dataset()
        for name, value in elements.items():
            setattr(content, name, value)
        setattr(group, keyword, [content])
        return group

    shared = of("PixelMeasuresSequence", PixelSpacing=[1, 1], SliceThickness=3)
    shared.update(of("PlaneOrientationSequence", ImageOrientationPatient=[1, 0, 0, 0, 1, 0]))
    own = [of("PlanePositionSequence", ImagePositionPatient=[0, 0, -3 * i]) for i in range(6)]
    for i, group in enumerate(own):
        group.update(of("PixelValueTransformationSequence", RescaleSlope=1, RescaleIntercept=i))
    path = dicom.write(
        tmp_path / "a",
        np.ascontiguousarray(np.moveaxis(VOXELS, -1, 0)),
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=own,
    )
    source = VolumeSource("file", VOXELS.shape, format="dicom", axes="hws")
    assert np.array_equal(source.decode(path)[0], (VOXELS + np.arange(6))[..., ::-1])
    assert source.axes_of(path).spacing == (1, 1, 3)


def claim(path: Path, **elements: Any) -> None:
    dicom.write(path, np.zeros((4, 4), np.uint16), **elements)


def document(path: Path) -> None:
    import pydicom

    claim(path)
    dataset = pydicom.dcmread(path)
    del dataset.Rows, dataset.Columns, dataset.PixelData
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.104.1"
    dataset.save_as(path)


def cut(path: Path, n: int) -> None:
    claim(path)
    path.write_bytes(path.read_bytes()[:n])


SCAN = VolumeSource("file", (4, 4, 1), format="dicom", shape="any", axes="hws")
HOSTILE = {
    "text": (lambda path: path.write_text("no image"), "not a DICOM file"),
    "empty": (Path.touch, "not a DICOM file"),
    "folder": (Path.mkdir, "a folder, not a file"),
    "magic alone": (lambda path: path.write_bytes(bytes(128) + b"DICM"), "no image"),
    "noise": (lambda path: path.write_bytes(bytes(128) + b"DICM" + bytes(range(256)) * 9), "."),
    "truncated": (lambda path: cut(path, -9), "less than expected|damaged"),
    "cut in the header": (lambda path: cut(path, 200), "."),
    "huge": (lambda path: claim(path, Rows=60000, Columns=60000), "take 14.4 GB.*max_bytes="),
    "negative frames": (lambda path: claim(path, NumberOfFrames=-9, Rows=0), "damaged"),
    "lossless": (lambda path: claim(path, TransferSyntaxUID="1.2.840.10008.1.2.4.70"), "pip install python-gdcm"),
    "jpeg-ls": (lambda path: claim(path, TransferSyntaxUID="1.2.840.10008.1.2.4.80"), "pip install pyjpegls"),
    "film": (lambda path: claim(path, TransferSyntaxUID="1.2.840.10008.1.2.4.100"), "MPEG2 .* cannot be decoded"),
    "deflated": (
        lambda path: claim(path, TransferSyntaxUID="1.2.840.10008.1.2.1.99"),
        "compressed .deflated.: store it",
    ),
    "no rows": (lambda path: claim(path, Rows=None), "damaged"),
    "two numbers of rows": (lambda path: claim(path, Rows=[4, 4]), "damaged"),
    "two numbers of frames": (lambda path: claim(path, NumberOfFrames=[1, 2]), "damaged"),
    "two numbers of samples": (lambda path: claim(path, SamplesPerPixel=[1, 3]), "damaged"),
    "document": (document, "it has no image: its kind is Encapsulated PDF"),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize(
    "source", [DicomSource("file", (4, 4)), VolumeSource("file", (4, 4, 1), format="dicom", shape="any", axes="hws")]
)
def test_hostile_files_are_one_line_errors(
    tmp_path: Path, kind: str, source: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    make, message = HOSTILE[kind]
    if kind == "folder" and isinstance(source, VolumeSource):
        message = "no DICOM file"
    make(tmp_path / "a.dcm")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if kind != "truncated":
            with pytest.raises(ValueError, match=message):
                source.probe(tmp_path / "a.dcm")
        with pytest.raises(ValueError, match=message) as caught:
            source.decode(tmp_path / "a.dcm")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_invalid_spacing_is_unknown(tmp_path: Path) -> None:
    claim(tmp_path / "a.dcm", PixelSpacing=[1], SliceThickness=3)
    assert SCAN.axes_of(tmp_path / "a.dcm").spacing == (0, 0, 3)
    assert SCAN.properties(tmp_path / "a.dcm")["spacing of slices"] == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"SeriesInstanceUID": "9"},
            "2 different values of SeriesInstanceUID: put each series into a folder of its own",
        ),
        ({"ImagePositionPatient": [0, 0, 500]}, "its slices are uneven"),
        ({"ImagePositionPatient": [-10, -20, 2]}, "its slices are uneven: .* are at one place"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "its voxels are colors"),
    ],
)
def test_incomplete_series_raise(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    dicom.series(tmp_path / "scan", VOXELS)
    elements = {"SeriesInstanceUID": "1.2.3", "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [1, 1]}
    dicom.write(
        tmp_path / "scan" / "IM005", VOXELS[..., 0].copy(), **{**elements, "ImagePositionPatient": [0, 0, 6], **change}
    )
    with pytest.raises(ValueError, match=message):
        VolumeSource("file", VOXELS.shape, format="dicom", shape="any", axes="hws").probe(tmp_path / "scan")


def clinic(root: Path, n: int = 12, ending: str = ".dcm") -> dict[str, Any]:
    rng = np.random.default_rng(0)
    for i in range(n):
        pixels = rng.integers(0, 4096, (9, 9)).astype(np.uint16)
        dicom.write(root / f"{i}{ending}", pixels, Manufacturer="GE" if i % 2 else "Philips", **CT)
    frame = pd.DataFrame(
        {"scan": [f"{i}{ending}" for i in range(n)], "y": ["a", "b"] * (n // 2), "age": range(40, 40 + n)}
    )
    frame.to_csv(root / "t.csv", index=False)
    return {"table": str(root / "t.csv"), "label": "y", "images": ["scan"], "size": 8}


@pytest.mark.parametrize("ending", [".dcm", "", ".IMA", ".1"])
def test_table_of_dicom_images(tmp_path: Path, ending: str) -> None:
    dataset = TableDataset(**clinic(tmp_path, ending=ending), window=[40, 400])
    (source,) = dataset.reader.images.values()
    assert isinstance(source, DicomSource)
    assert source.range == (-160, 240)
    assert dataset.load().train.spec["scan"].shape == (3, 8, 8)


def test_table_of_series_folders(tmp_path: Path) -> None:
    for i in range(6):
        dicom.series(tmp_path / f"p{i}", VOXELS)
        dicom.write(tmp_path / f"p{i}.dcm", np.moveaxis(VOXELS, -1, 0).copy())
    frame = pd.DataFrame({"y": list("ababab"), "age": [40.5, 31, 22, 63, 54, 75], "half": ["train"] * 4 + ["test"] * 2})
    for names in ([f"p{i}" for i in range(6)], [f"p{i}.dcm" for i in range(6)]):
        options = {"label": "y", "images": ["scan"], "root": tmp_path, "test": "half"}
        dataset = TableDataset(
            frame.assign(scan=names), size=[8, 8, 4], window=[500, 400], spacing=[1, 1, 2], **options
        )
        (source,) = dataset.reader.images.values()
        assert isinstance(source, VolumeSource)
        assert (source.clip, source.resample, source.format) == ((300, 700), True, "dicom")
    with pytest.raises(DatasetError, match="has folders of DICOM slices: give size as height, width and slices"):
        TableDataset(frame.assign(scan=[f"p{i}" for i in range(6)]), size=8, **options)
    with pytest.raises(
        DatasetError, match=r"several kinds of files \(DICOM files such as 'p0.dcm', images such as 'a.png'"
    ):
        TableDataset(frame.assign(scan=["p0.dcm", *["a.png"] * 5]), size=8, **options)
    with pytest.raises(DatasetError, match=r"not read \(.mha such as 'a.mha': convert it to NIfTI\)"):
        TableDataset(frame.assign(scan="a.mha"), size=8, **options)
    with pytest.raises(ValueError, match="window is another way to give range and clip"):
        TableDataset(frame.assign(scan="a.png"), size=8, window=[1, 2], clip=[1, 2], **options)


@pytest.mark.slow
def test_leaking_manufacturer_is_reported(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    report = check("table", **clinic(tmp_path, 40))
    assert report.faults == ()
    assert any("column 'scan: maker' alone distinguishes" in finding.text for finding in report.warnings)
