import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmfusion.data.images.masks import Masks
from mmfusion.data.images.photographs import ImageSource

INSIDE = np.zeros((6, 8), dtype=bool)
INSIDE[2:4, 4:8] = True


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    Image.fromarray(np.full((6, 8, 3), 77, dtype=np.uint8)).save(path)
    return path


def masks(path: Path | None, image: Path | None, size: tuple[int, int] = (6, 8)) -> Masks:
    return Masks(ImageSource("file", size), (path,), (image,))


def written(tmp_path: Path, pixels: np.ndarray, name: str = "mask.png", **options: object) -> Path:
    Image.fromarray(pixels).save(tmp_path / name, **options)
    return tmp_path / name


@pytest.mark.parametrize("high", [1, 255])
@pytest.mark.parametrize("channels", [1, 3])
def test_inside_is_above_half_of_maximum(tmp_path: Path, image: Path, high: int, channels: int) -> None:
    grey = (INSIDE * high).astype(np.uint8)
    path = written(tmp_path, grey if channels == 1 else np.repeat(grey[..., None], 3, axis=2))
    mask = masks(path, image)[0]
    assert mask is not None
    assert np.array_equal(mask.numpy(), INSIDE)


def test_mask_formats_agree(tmp_path: Path, image: Path) -> None:
    """One bit per pixel, 16 bits, lossy."""
    for path in (
        written(tmp_path, INSIDE, "bit.png"),
        written(tmp_path, (INSIDE * 60000).astype(np.uint16), "deep.png"),
        written(tmp_path, (INSIDE * 255).astype(np.uint8), "lossy.jpg", quality=90),
    ):
        mask = masks(path, image)[0]
        assert mask is not None
        assert np.array_equal(mask.numpy(), INSIDE), path


def test_mask_is_resized_as_the_image(tmp_path: Path, image: Path) -> None:
    path = written(tmp_path, INSIDE)
    mask = masks(path, image, (3, 4))[0]
    assert mask is not None
    assert mask.nonzero().tolist() == [[1, 2], [1, 3]]
    mask = masks(path, image, (12, 8))[0]
    assert mask is not None
    assert mask.nonzero().unique(dim=0)[:, 0].unique().tolist() == [4, 5, 6, 7]


@given(st.tuples(*[st.integers(1, 40)] * 4), st.tuples(*[st.integers(3, 20)] * 2))
def test_mask_keeps_its_area_share(box: tuple[int, int, int, int], size: tuple[int, int]) -> None:
    """Resized as the image: half of a pixel or more is inside."""
    pixels = np.zeros((40, 40), dtype=np.uint8)
    (top, bottom), (left, right) = sorted(box[:2]), sorted(box[2:])
    pixels[top : bottom + 1, left : right + 1] = 255
    source = ImageSource("file", size, channels=1)
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), pixels)
        mask = Masks(source, (path,), (path,))[0]
        shares = source.decode(path)[0]
    assert mask is not None
    assert np.array_equal(mask.numpy(), shares >= 128)


def test_mask_is_rotated_as_the_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter clockwise
    grey = (INSIDE * 255).astype(np.uint8)
    turned = written(tmp_path, grey, "turned.png", exif=exif)
    upright = written(tmp_path, np.rot90(grey, -1).copy(), "upright.png")
    for path in (turned, upright):
        mask = masks(path, turned, (8, 6))[0]
        assert mask is not None
        assert np.array_equal(mask.numpy(), np.rot90(INSIDE, -1))


def test_mask_is_none_without_image_or_mask(tmp_path: Path, image: Path) -> None:
    path = written(tmp_path, INSIDE)
    assert masks(None, image)[0] is None
    assert masks(path, None)[0] is None
    assert masks(path, None).n_present == 0
    assert masks(path, image).n_present == len(masks(path, image)) == 1
    with pytest.raises(IndexError):
        masks(path, image)[1]


def test_faults_name_rows(tmp_path: Path, image: Path) -> None:
    frame = pd.DataFrame(index=["a", "b", "c", "d"])
    (tmp_path / "text.png").write_bytes(b"text")
    paths = (
        written(tmp_path, INSIDE, "good.png"),
        tmp_path / "text.png",
        written(tmp_path, INSIDE.T.copy(), "turned.png"),
        written(tmp_path, np.zeros((6, 8), dtype=np.uint8), "empty.png"),
    )
    faults = Masks(ImageSource("file", (6, 8)), paths, (image,) * 4).faults(frame)
    assert [fault.split(":")[0] for fault in faults] == ["row b", "row c", "row d"]
    assert "text.png cannot be used (cannot identify image file" in faults[0]
    assert "6 x 8 pixels (width x height), its image 8 x 6" in faults[1]
    assert faults[2].endswith("empty.png marks no pixel")
    empty = masks(paths[3], image)[0]
    assert empty is not None
    assert not empty.any()
    assert empty.dtype == torch.bool


def test_invalid_mask_values_raise(tmp_path: Path, image: Path) -> None:
    values = INSIDE.astype(np.float32)
    values[0, 0] = np.nan
    path = written(tmp_path, values, "mask.tif")
    with pytest.raises(ValueError, match="floating-point numbers"):
        masks(path, image)[0]
    with pytest.raises(ValueError, match="NaN or infinite"):
        Masks(ImageSource("file", (6, 8), range=(0, 1)), (path,), (image,))[0]


def test_wrong_number_of_masks_raises(image: Path) -> None:
    with pytest.raises(ValueError, match="one mask, or None, per image, got 0 of 1"):
        Masks(ImageSource("file", (6, 8)), (), (image,))
