from pathlib import Path

import numpy as np
import pytest
import torch

from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.images.volumes import VolumeSource
from mmfusion.experiments.explaining import planes
from mmfusion.experiments.explaining.planes import overlaid, shades


def saved(path: Path, shape: tuple[int, ...], *, rotation: int = 1) -> Path:
    from PIL import Image

    image = Image.fromarray(np.arange(np.prod(shape), dtype=np.uint64).reshape(shape).astype(np.uint8))
    exif = image.getexif()
    exif[0x0112] = rotation
    image.save(path, exif=exif)
    return path


def test_a_photograph_is_shown_upright_as_large_as_its_file(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", (8, 12, 3), rotation=6)
    source = ImageSource("file", (4, 4))
    pixels = torch.from_numpy(source.decode(path))
    heat = torch.zeros(4, 4)
    heat[0, 3] = 1
    numbers = torch.tensor([[0, 0, 1, 1]]).expand(4, 4)
    found = overlaid(pixels, heat, numbers, np.array([-1.0, 2.0]), source=source, path=path)
    (plane,) = found.planes
    assert found.about == "as large as its file, 12 x 8"
    assert plane.pixels.shape == (12, 8, 3)
    assert plane.heat is not None
    assert plane.contributions is not None
    assert np.unravel_index(plane.heat.argmax(), plane.heat.shape)[1] == 7
    assert plane.contributions[:, :4].max() == -1
    assert plane.contributions[:, 4:].min() == 2
    assert (plane.pixels == np.moveaxis(source.at_file_size(path).decode(path), 0, -1)).all()


def test_without_its_file_an_image_is_shown_as_the_model_reads_it(tmp_path: Path) -> None:
    source = ImageSource("file", (4, 4))
    found = overlaid(torch.zeros(3, 4, 4, dtype=torch.uint8), None, None, None, source=source, path=tmp_path / "gone")
    assert found.about == "as the model reads it, 4 x 4"
    assert found.planes[0].heat is None
    assert found.planes[0].contributions is None


def test_a_large_photograph_is_reduced_with_its_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planes, "LARGEST", 8)
    pixels = torch.zeros(1, 16, 4, dtype=torch.uint8)
    (plane,) = overlaid(pixels, torch.ones(16, 4), torch.zeros(16, 4, dtype=torch.int64), np.array([3.0])).planes
    assert plane.pixels.shape == (8, 2, 3)
    assert plane.heat is not None
    assert plane.heat.shape == (8, 2)
    assert plane.contributions is not None
    assert (plane.contributions == 3).all()
    assert plane.pixel == (2, 2)


def test_a_volume_is_cut_through_the_strongest_place() -> None:
    volume, heat = torch.rand(1, 4, 5, 6), torch.zeros(4, 5, 6)
    heat[1, 2, 3] = 1
    found = overlaid(volume, heat, None, None, spacing=(1.0, 2.0, 3.0))
    assert [plane.title for plane in found.planes] == ["slice 4 of 6", "column 3 of 5", "row 2 of 4"]
    assert [plane.pixels.shape[:2] for plane in found.planes] == [(4, 5), (4, 6), (5, 6)]
    assert [plane.pixel for plane in found.planes] == [(1, 2), (1, 3), (2, 3)]
    assert all(plane.heat is not None and plane.heat.max() == 1 for plane in found.planes)
    # Without a map the strongest region, without one the middle.
    numbers = (torch.arange(6) >= 4).long().expand(4, 5, 6)
    (first, *_) = overlaid(volume, heat * 0, numbers, np.array([0.1, -2.0])).planes
    assert first.title in ("slice 5 of 6", "slice 6 of 6")
    (first, *_) = overlaid(volume, None, None, None).planes
    assert first.title == "slice 4 of 6"


@pytest.mark.slow
def test_a_volume_of_a_file_has_its_size_spacing_and_directions(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    x = np.random.default_rng(0).normal(size=(8, 6, 4)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(x, np.diag([1.0, 2.0, 3.0, 1.0])), tmp_path / "v.nii.gz")
    source = VolumeSource("file", size=(4, 3, 2), shape="any", axes="hws", orientation="RAS")
    path = tmp_path / "v.nii.gz"
    found = overlaid(torch.from_numpy(source.decode(path)), torch.ones(4, 3, 2), None, None, source=source, path=path)
    assert found.about == "as large as its file, 8 x 6 x 4, cut at the strongest place of the map"
    assert [plane.title.split()[0] for plane in found.planes] == ["axial", "coronal", "sagittal"]
    assert [plane.pixel for plane in found.planes] == [(1, 2), (1, 3), (2, 3)]


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.array([[[0, 200]]], dtype=np.uint8), [0, 200]),
        (np.array([[[-5.0, 5.0]]]), [0, 255]),
        (np.full((4, 1, 2), 7.0), [0, 0]),
    ],
)
def test_shades(pixels: np.ndarray, expected: list[int]) -> None:
    found = shades(pixels)
    assert found.shape == (1, 2, 3)
    assert found[0, :, 0].tolist() == expected
