"""The script's inputs are those of mmfusion, bit by bit, from the preprocessing that is written beside the model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from helpers.odd_cases import new_cases, photographs, reader_of, training
from mmfusion.data.images.dicom_images import DicomSource
from mmfusion.data.images.intensity import Intensity
from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.images.sources import find_images
from mmfusion.data.images.stack import StackSource
from mmfusion.data.images.volumes import VolumeSource
from mmfusion.data.reader import CaseReader
from mmfusion.experiments.exporting import preprocessing
from mmfusion.experiments.predictor import Predictor
from mmfusion.models.export import ExportError
from mmfusion.tokens import Bag

stand_alone = pytest.importorskip("mmfusion.experiments.exporting.stand_alone")


def written(reader: CaseReader) -> dict[str, Any]:
    """What the file holds, for a model that reads everything."""
    predictor = Predictor(torch.nn.Identity(), reader, device=torch.device("cpu"))
    return json.loads(json.dumps(preprocessing.described(predictor), allow_nan=False))


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 2, 7])
def test_table_cells_match_mmfusion(rows: int) -> None:
    """Odd cells of every kind of column; the whole column is read at once, as its other cells matter."""
    reader = reader_of({})
    about = written(reader)["tables"]["meta"]
    assert reader.schema is not None
    for frame in (new_cases().iloc[:rows], training().iloc[:rows], new_cases().iloc[::-1].iloc[:rows]):
        expected = reader.schema.transform(frame)
        numerical, categorical = stand_alone.table(frame, about)
        np.testing.assert_array_equal(numerical, expected.numerical.numpy())
        np.testing.assert_array_equal(categorical, expected.categorical.numpy())
        assert (numerical.dtype, categorical.dtype) == (np.float32, np.int64)


def test_non_number_raises_same_error() -> None:
    reader = reader_of({})
    frame = new_cases().assign(age="old")
    assert reader.schema is not None
    with pytest.raises(ValueError, match="column 'age' expects numbers, but row 0 has 'old'") as expected:
        reader.schema.transform(frame)
    with pytest.raises(ValueError, match="column 'age'") as found:
        stand_alone.table(frame, written(reader)["tables"]["meta"])
    assert str(found.value) == str(expected.value)


@pytest.mark.parametrize("options", [{}, {"channels": 1}, {"order": "bgr"}, {"range": (100, 40000)}, {"bits": 16}])
def test_photographs_match_mmfusion(options: dict[str, Any], tmp_path: Path) -> None:
    """Rotated, transparent, deep, with a palette, gray; found whatever the case of the name."""
    photographs(tmp_path / "images")
    source = ImageSource("photo", (16, 12), folders=("", "images"), **options)
    about = written(reader_of({"derm": source}))["images"]["derm"]
    files = stand_alone.paths(new_cases(), tmp_path, about, "absent")
    assert [len(of_case) for of_case in files] == [1] * 5 + [0, 0]
    for (file,) in files[:5]:
        assert file == source.find(tmp_path, file.name)
        np.testing.assert_array_equal(stand_alone.photograph(file, about), source.decode(file))


def test_12_bit_images_match_mmfusion(tmp_path: Path) -> None:
    Image.fromarray(np.arange(0, 4096, 64, dtype=np.uint16).reshape(8, 8)).save(tmp_path / "a.png")
    Image.fromarray(np.full((8, 8), 4096, dtype=np.uint16)).save(tmp_path / "b.png")
    source = ImageSource("photo", (8, 8), bits=12)
    about = written(reader_of({"derm": source}))["images"]["derm"]
    pixels = stand_alone.photograph(tmp_path / "a.png", about)
    np.testing.assert_array_equal(pixels, source.decode(tmp_path / "a.png"))
    assert pixels.max() > 250
    with pytest.raises(ValueError, match=r"its values are not from 0\.0 to 4095\.0"):
        stand_alone.photograph(tmp_path / "b.png", about)


def test_extensions_and_patterns_match_mmfusion(tmp_path: Path) -> None:
    photographs(tmp_path / "p.1")
    source = ImageSource("p.{age}/{photo}", (8, 8), suffix=".tif", endings=(".jpg",))
    about = written(reader_of({"derm": source}))["images"]["derm"]
    frame = new_cases().iloc[:2].assign(age="1", photo=["gone", "turned"])
    assert stand_alone.paths(frame, tmp_path, about, "absent") == [(), (tmp_path / "p.1" / "turned.jpg",)]
    with pytest.raises(FileNotFoundError, match=r"1 image\(s\) are not in .*row 0: \['1', 'gone'\]"):
        stand_alone.paths(frame, tmp_path, about, "error")


def test_several_images_per_case(tmp_path: Path) -> None:
    """The same files, pixels and masks, and the same complaints."""
    photographs(tmp_path / "images")
    source = ImageSource("photo", (8, 8), folders=("nowhere", "images"), bag=3)
    reader = reader_of({"derm": source}, {"derm": Intensity("image")})
    about = written(reader)["images"]["derm"]
    cells = ["A.PNG; turned.jpg;A.PNG", "gr*.png", "deep.png;gone.png", "", "gone/*", "grey.png", "[gp]*.png"]
    frame = new_cases().assign(photo=cells)
    files = stand_alone.paths(frame, tmp_path, about, "absent")
    assert files == find_images({"derm": source}, frame, tmp_path).paths["derm"]
    bag = (
        reader.read(frame, tmp_path, with_targets=False, missing_images="absent").__getitems__(range(7)).inputs["derm"]
    )
    assert isinstance(bag, Bag)
    np.testing.assert_array_equal(stand_alone.masks(files), bag.mask.numpy())
    x = stand_alone.images(files, about)
    np.testing.assert_allclose(x[bag.mask], bag.x[bag.mask], rtol=0, atol=1e-5)
    with pytest.raises(
        FileNotFoundError, match=r"3 image\(s\) are not in .*: row 2: gone.png; row 3: .*; row 4: gone/\*"
    ):
        stand_alone.paths(frame, tmp_path, about, "error")
    with pytest.raises(ValueError, match=r"more images than 3: row 0: 5"):
        stand_alone.paths(frame.assign(photo="*"), tmp_path, about, "error")


@pytest.mark.parametrize(
    "intensity",
    [
        Intensity("none", clip=(0.2, 0.9)),
        Intensity("image", clip=(0.1, 0.8)),
        Intensity("channel"),
        Intensity("sequence", mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3)),
    ],
    ids=lambda intensity: intensity.standardize,
)
def test_intensities_match_mmfusion(intensity: Intensity) -> None:
    """One image is constant, and becomes zeros."""
    source = ImageSource("photo", (4, 4))
    how = written(reader_of({"derm": source}, {"derm": intensity}))["images"]["derm"]["intensity"]
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 4, 4), dtype=np.uint8)
    pixels[1] = 90
    expected = intensity(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(stand_alone.scaled(pixels, how), expected, rtol=0, atol=1e-6)


def test_volumes_are_read_from_npy_files(tmp_path: Path) -> None:
    """Named as the NIfTI file with another extension; those of a stack are in a folder."""
    voxels = np.random.default_rng(0).normal(size=(2, 6, 5, 4)).astype(np.float16)
    (tmp_path / "c1").mkdir()
    np.save(tmp_path / "c1" / "t1.npy", voxels[0])
    np.save(tmp_path / "c1" / "t2.npy", voxels[1:])
    one = VolumeSource("case", (6, 5, 4), suffix="/t1.nii.gz", axes="hws")
    frame = new_cases().iloc[:1].assign(case="c1")

    def read(source: VolumeSource | StackSource) -> NDArray[Any]:
        about = written(reader_of({"mri": source}))["images"]["mri"]
        return stand_alone.images(stand_alone.paths(frame, tmp_path, about, "error"), about)

    np.testing.assert_array_equal(read(one), voxels[None, :1].astype(np.float32))
    stack = StackSource(VolumeSource("case", (6, 5, 4), axes="hws"), ("t1.nii.gz", "t2.nii.gz"))
    np.testing.assert_array_equal(read(stack), voxels[None].astype(np.float32))
    with pytest.raises(ValueError, match=r"t1\.npy cannot be read: t1\.npy is \(6, 5, 4\), expected \(6, 5, 3\)"):
        read(VolumeSource("case", (6, 5, 3), suffix="/t1.nii.gz", axes="hws"))


def test_unsupported_images_raise() -> None:
    with pytest.raises(ExportError, match="'chest' are read as 'dicom', which the exported script cannot do"):
        written(reader_of({"chest": DicomSource("photo", (4, 4))}))
