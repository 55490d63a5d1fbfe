from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import dicom
from mmfusion.data.images.resampling import resampled
from mmfusion.data.images.volumes import VolumeSource

nibabel = pytest.importorskip("nibabel")


def ramp(shape: tuple[int, int, int]) -> np.ndarray:
    return np.add.outer(
        np.add.outer(np.arange(shape[0]) * 100.0, np.arange(shape[1]) * 10.0), np.arange(shape[2])
    ).astype(np.float32)


def test_same_spacing_is_identity() -> None:
    voxels = ramp((4, 5, 3))
    assert np.allclose(resampled(voxels, (1, 2, 3), (1, 2, 3), (4, 5, 3)), voxels, atol=1e-3)


def test_crops_and_pads_around_center() -> None:
    voxels = ramp((4, 4, 4)) + 7
    assert np.allclose(resampled(voxels, (1, 1, 1), (1, 1, 1), (2, 2, 2)), voxels[1:3, 1:3, 1:3], atol=1e-3)
    wide = resampled(voxels, (1, 1, 1), (1, 1, 1), (8, 8, 8))
    assert np.allclose(wide[2:6, 2:6, 2:6], voxels, atol=1e-3)
    assert (wide[0] == 7).all()
    assert (wide[:, :, -1] == 7).all()


def test_interpolates_between_voxels() -> None:
    """At half the spacing the inner voxels of a ramp are a ramp of half the steps."""
    result = resampled(ramp((4, 4, 4)), (2, 2, 2), (1, 1, 1), (6, 6, 6))
    expected = (np.arange(6) + 0.5)[:, None, None] * 50 + (np.arange(6) + 0.5)[:, None] * 5 + (np.arange(6) + 0.5) * 0.5
    assert np.allclose(result, expected, atol=1e-2)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0.1, 10), min_size=3, max_size=3), st.lists(st.floats(0.1, 10), min_size=3, max_size=3))
def test_values_stay_in_range_of_input(old: list[float], new: list[float]) -> None:
    voxels = np.random.default_rng(0).normal(0, 100, (3, 4, 2)).astype(np.float32)
    result = resampled(voxels, old, new, (4, 3, 5))
    assert result.shape == (4, 3, 5)
    assert result.min() >= voxels.min() - 1e-2
    assert result.max() <= voxels.max() + 1e-2


def test_ball_keeps_its_volume_at_any_spacing(tmp_path: Path) -> None:
    """Of radius 6 mm, in files of three spacings, one of them turned."""
    source = VolumeSource(
        "file", (24, 24, 24), shape="any", axes="hws", spacing=(1.0, 1.0, 1.0), resample=True, orientation="RAS"
    )
    sizes = []
    for i, zooms in enumerate([(1, 1, 1), (0.8, 0.8, 2), (1.5, 1, 0.7)]):
        shape = tuple(round(24 / zoom) for zoom in zooms)
        places = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * zoom for n, zoom in zip(shape, zooms)), indexing="ij")
        ball = (sum(place**2 for place in places) < 36).astype(np.int16) * 100
        image = nibabel.Nifti1Image(ball, np.diag([*zooms, 1.0]))
        if i == 1:
            image = image.as_reoriented(nibabel.orientations.axcodes2ornt(("S", "L", "A")))
        nibabel.save(image, tmp_path / f"{i}.nii.gz")
        sizes.append(float(source.decode(tmp_path / f"{i}.nii.gz").astype(np.float64).sum()) / 100)
    assert np.allclose(sizes, 4 / 3 * np.pi * 6**3, rtol=0.1)
    assert source.spec.spacing == (1, 1, 1)


def test_missing_spacing_raises(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    path = dicom.write(tmp_path / "a.dcm", np.zeros((4, 4, 6), np.uint16))
    options = {"shape": "any", "axes": "hws", "format": "dicom"}
    VolumeSource("file", (4, 4, 4), **options).probe(path)
    with pytest.raises(ValueError, match="no spacing to resample from"):
        VolumeSource("file", (4, 4, 4), spacing=(1.0, 1.0, 1.0), resample=True, **options).probe(path)
    with pytest.raises(ValueError, match="expects a spacing to resample to, got none"):
        VolumeSource("file", (4, 4, 4), axes="hws", resample=True)
