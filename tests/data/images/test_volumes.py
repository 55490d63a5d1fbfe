import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from mmfusion.data.images.sources import load_images, source_from_dict
from mmfusion.data.images.volumes import VolumeSource
from mmfusion.spec import Image

nibabel = pytest.importorskip("nibabel")
SIZE = (4, 6, 3)


def voxels(shape: tuple[int, ...] = SIZE, high: int = 2000) -> np.ndarray:
    return np.random.default_rng(0).integers(0, high, shape).astype(np.int16)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def written(content: np.ndarray, name: str = "a.nii.gz", affine: np.ndarray | None = None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(content, np.eye(4) if affine is None else affine), path)
        return path

    return written


def source(**options) -> VolumeSource:
    return VolumeSource("file", **{"size": SIZE, **options})


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_voxels_are_unchanged(write, name):
    result = source().decode(write(voxels(), name))
    assert result.dtype == np.float16
    assert result.flags["C_CONTIGUOUS"]
    assert np.array_equal(result[0], voxels())  # whole numbers up to 2048 are exact
    assert source().spec == Image(1, SIZE)


@pytest.mark.parametrize(
    ("axes", "order"),
    [
        ("auto", (0, 1, 2)),
        ("hws", (0, 1, 2)),
        ("auto", (2, 0, 1)),
        ("shw", (2, 0, 1)),
        ("whs", (1, 0, 2)),
        ("swh", (2, 1, 0)),
    ],
)
def test_axes_are_moved_to_height_width_slices(write, axes, order):
    path = write(voxels().transpose(order))
    assert np.array_equal(source(axes=axes).decode(path)[0], voxels())
    source(axes=axes).probe(path)


def test_nifti2_is_read(tmp_path):
    nibabel.save(nibabel.Nifti2Image(voxels(), np.eye(4)), tmp_path / "a.nii.gz")
    assert np.array_equal(source().decode(tmp_path / "a.nii.gz")[0], voxels())


def test_singleton_fourth_axis_is_dropped(write):
    assert np.array_equal(source().decode(write(voxels()[..., None]))[0], voxels())


def test_header_scale_is_applied(tmp_path):
    image = nibabel.Nifti1Image(voxels(high=100), np.eye(4))
    image.header.set_slope_inter(2, 3)
    nibabel.save(image, tmp_path / "a.nii.gz")
    stored = nibabel.load(tmp_path / "a.nii.gz")
    assert np.allclose(source().decode(tmp_path / "a.nii.gz")[0], stored.get_fdata(), atol=0.2)


def test_clips_before_resizing(write):
    content = voxels()
    expected = F.interpolate(
        torch.from_numpy(content.clip(0, 1200)).float()[None, None],
        size=(2, 3, 6),
        mode="trilinear",
        align_corners=False,
    )
    result = source(size=(2, 3, 6), shape=SIZE, clip=(0, 1200)).decode(write(content))
    assert np.array_equal(result, expected[0].half().numpy())
    assert np.array_equal(
        source(size=(2, 3, 6), shape="any", axes="hws", clip=(0, 1200)).decode(write(content)), result
    )


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        (
            (4, 6, 2),
            {},
            r"expected \(height, width, slices\) = \(4, 6, 3\), slices first or last; got shape \(4, 6, 2\)",
        ),
        ((3, 4, 6), {"axes": "hws"}, r"\(4, 6, 3\), axes 'hws'; got shape \(3, 4, 6\)"),
        ((4, 6, 3), {"axes": "shw"}, r"axes 'shw'; got shape \(4, 6, 3\)"),
        ((4, 6), {}, r"got shape \(4, 6\)"),
        ((4, 6, 3, 2), {}, r"got shape \(4, 6, 3, 2\)"),
        ((4, 6, 3, 2), {"shape": "any", "axes": "hws"}, r"expected three axes, axes 'hws'; got shape"),
    ],
)
def test_wrong_shape_raises(write, shape, options, message):
    path = write(voxels(shape))
    for look in (source(**options).decode, source(**options).probe):
        with pytest.raises(ValueError, match=message):
            look(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.where(voxels() == voxels()[0, 0, 0], np.nan, 1.0), r"[1-9]\d* of 72 voxels are NaN or infinite"),
        (np.where(voxels() == voxels()[0, 0, 0], np.inf, 1.0), "of 72 voxels are NaN or infinite"),
        (np.full(SIZE, 70000.0), "go from 70000 to 70000, .*float16, up to 65504: give a clip"),
    ],
)
def test_invalid_values_raise(write, content, message):
    path = write(content.astype(np.float32))
    source().probe(path)
    with pytest.raises(ValueError, match=message):
        source().decode(path)


def test_values_beyond_half_precision_can_be_clipped(write):
    assert source(clip=(0, 100)).decode(write(np.full(SIZE, 70000.0, dtype=np.float32))).max() == 100


def damaged(path: Path, how: str) -> Path:
    whole = path.read_bytes()
    if how == "no gzip":
        path.write_bytes(b"hello")
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "truncated":
        path.write_bytes(whole[: len(whole) - 30])
    elif how == "checksum":
        path.write_bytes(whole[:-8] + bytes(255 - b for b in whole[-8:-4]) + whole[-4:])
    elif how == "flipped":
        middle = len(whole) // 2
        path.write_bytes(whole[:middle] + bytes(255 - b for b in whole[middle : middle + 8]) + whole[middle + 8 :])
    elif how == "no volume":
        path.write_bytes(gzip.compress(b"hello"))
    elif how == "gone":
        path.unlink()
    return path


@pytest.mark.parametrize(
    ("name", "how"),
    [("a.nii.gz", how) for how in ("no gzip", "empty", "truncated", "checksum", "flipped", "no volume", "gone")]
    + [("a.nii", how) for how in ("empty", "truncated")],
)
def test_damaged_files_raise(write, name, how):
    path = damaged(write(voxels((4, 6, 3)), name), how)
    looks = [source().decode]
    if how not in ("truncated", "checksum", "flipped"):
        # These are seen in the header already.
        looks.append(source().probe)
    for look in looks:
        with pytest.raises(ValueError, match=r"damaged or truncated: \S"):
            look(path)


def test_all_errors_are_reported_together(write, tmp_path):
    for i, shape in enumerate([SIZE, (9, 9, 9), SIZE, SIZE]):
        write(voxels(shape), f"1fold/p{i}/t1.nii.gz")
    damaged(tmp_path / "1fold" / "p3" / "t1.nii.gz", "flipped")
    frame = pd.DataFrame({"patient": ["p0", "p1", "p2", "p3"], "fold": "1fold"})
    sources = {"t1": VolumeSource("{fold}/{patient}/t1.nii.gz", SIZE)}
    with pytest.raises(
        ValueError, match=r"^2 image file.*row 1, column .*p1/t1.nii.gz \(expected .*row 3, column .*p3/t1.nii.gz"
    ):
        load_images(sources, frame, tmp_path)
    images, present = load_images(sources, frame.iloc[[0, 2]], tmp_path)
    assert images["t1"].dtype == torch.float16
    assert present["t1"].all()


def test_json_round_trip():
    for item in (
        source(),
        source(axes="shw", clip=(0, 1200), spacing=(0.5, 0.5, 5.0), folders=("a", "b"), suffix="/t1.nii.gz"),
        source(shape="any", axes="hws"),
        source(shape=(8, 8, 4)),
    ):
        assert source_from_dict(json.loads(json.dumps(item.to_dict()))) == item
    with pytest.raises(ValueError, match="unknown kind of images 'film'; known are: image, volume, stack, dicom"):
        source_from_dict({"kind": "film"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (4, 6)}, r"size expects a list of int from 1 to 8192, got \(4, 6\)"),
        ({"size": (4, 6, 0)}, r"size expects .*, got \(4, 6, 0\)"),
        ({"axes": "hw"}, "axes 'auto' or an order of the letters h, w, s, got 'hw'"),
        ({"shape": "some"}, "shape expects .* or one of any or none, got 'some'"),
        ({"shape": (4, 6)}, r"shape expects .*, got \(4, 6\)"),
        ({"shape": "any"}, "cannot infer the axes of volumes of shape any: give axes"),
        ({"size": (4, 4, 4)}, r"cannot infer the axes of volumes of shape \(4, 4, 4\)"),
        ({"clip": (3, 3)}, "clip expects a list of float in ascending order or none"),
        ({"folders": ()}, "folders expects 1 to 1000 values, a list of str"),
        ({"folders": "images"}, "folders expects .* got 'images'"),
    ],
)
def test_invalid_options_raise(options, message):
    with pytest.raises(ValueError, match=message):
        source(**options)
