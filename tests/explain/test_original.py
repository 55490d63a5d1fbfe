from pathlib import Path

import numpy as np
import pytest
import torch

from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.images.stack import StackSource
from mmfusion.data.images.volumes import VolumeSource
from mmfusion.explain import original_map

TURNED = np.array([[0, 0, -2, 0], [-1, 0, 0, 0], [0, 3, 0, 0], [0, 0, 0, 1]], dtype=float)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_map_follows_photo_orientation(tmp_path: Path, orientation: int) -> None:
    pil = pytest.importorskip("PIL.Image")
    stored = np.arange(15, dtype=np.uint8).reshape(3, 5) * 10
    exif = pil.Exif()
    exif[0x0112] = orientation
    pil.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    source = ImageSource("file", size=(5, 3) if orientation >= 5 else (3, 5), channels=1)
    upright = torch.tensor(source.decode(tmp_path / "a.png")[0])
    assert np.array_equal(original_map(upright, source, tmp_path / "a.png"), stored)


def test_map_is_resized_to_file(tmp_path: Path) -> None:
    pil = pytest.importorskip("PIL.Image")
    pil.new("L", (8, 4)).save(tmp_path / "a.png")
    heat = original_map(torch.tensor([[0.0, 1.0], [0.0, 0.0]]), ImageSource("file", size=(2, 2)), tmp_path / "a.png")
    assert heat.shape == (4, 8)
    assert np.unravel_index(heat.argmax(), heat.shape) == (0, 6)
    with pytest.raises(ValueError, match=r"\(2, 2\) is expected"):
        original_map(torch.zeros(1, 2, 2), ImageSource("file", size=(2, 2)), tmp_path / "a.png")


@pytest.mark.parametrize("affine", [np.eye(4), TURNED])
@pytest.mark.parametrize("shape", [(4, 6, 3), (4, 6, 3, 1)])
def test_map_follows_volume_orientation(tmp_path: Path, affine: np.ndarray, shape: tuple[int, ...]) -> None:
    nibabel = pytest.importorskip("nibabel")
    content = np.arange(72, dtype=np.int16).reshape(shape)
    path = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(content, affine), path)
    size = (4, 6, 3) if affine[0, 0] else (3, 4, 6)
    volume = VolumeSource("file", size=size, orientation="RAS")
    decoded = torch.from_numpy(volume.decode(path)[0])
    for source in (volume, StackSource(volume, ("a.nii.gz",))):
        assert np.array_equal(original_map(decoded, source, path), content)


def test_cropped_voxels_have_no_heat(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    path = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 8, 6), np.int16), np.diag([1, 1, 2, 1])), path)
    source = VolumeSource("file", size=(4, 4, 4), shape=(8, 8, 6), spacing=(1, 1, 1), resample=True, axes="hws")
    heat = original_map(-torch.ones(4, 4, 4), source, path)
    assert heat.shape == (8, 8, 6)
    # Four voxels of eight, and along the slices four of twelve millimeters: two of six.
    expected = np.zeros((8, 8, 6), np.float32)
    expected[2:6, 2:6, 2:4] = -1
    assert np.allclose(heat, expected)


def test_sources_at_the_size_of_a_file(tmp_path: Path) -> None:
    pil, nibabel = pytest.importorskip("PIL.Image"), pytest.importorskip("nibabel")
    exif = pil.Exif()
    exif[0x0112] = 6
    pil.fromarray(np.arange(15, dtype=np.uint8).reshape(3, 5)).save(tmp_path / "a.png", exif=exif)
    larger = ImageSource("file", size=(2, 2), channels=1).at_file_size(tmp_path / "a.png")
    assert larger.size == (5, 3)
    path = tmp_path / "a.nii.gz"
    content = np.arange(72, dtype=np.int16).reshape(4, 6, 3)
    nibabel.save(nibabel.Nifti1Image(content, np.diag([1, 2, 3, 1])), path)
    volume = VolumeSource("file", size=(2, 3, 3), shape="any", axes="hws")
    for source in (volume, StackSource(volume, ("a.nii.gz",))):
        whole = source.at_file_size(path)
        assert whole.spec.size == (4, 6, 3)
        assert whole.spec.spacing == (1, 2, 3)
        assert np.array_equal(whole.decode(path)[0], content)
    resampled = VolumeSource("file", size=(4, 4, 4), shape="any", axes="hws", spacing=(1, 1, 1), resample=True)
    assert resampled.at_file_size(path) is resampled
