from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from mmfusion.data.images import ImageSource
from mmfusion.data.sources import load_images


def source(**options) -> dict[str, ImageSource]:
    return {"derm": ImageSource("file", **{"size": (8, 8), **options})}


def test_lossless_pixels_arrive_unchanged(tmp_path, write_image):
    pixels = write_image(tmp_path / "a.png")
    images, there = load_images(source(), pd.DataFrame({"file": ["a.png"]}), tmp_path)
    assert images["derm"].dtype == torch.uint8
    assert np.array_equal(images["derm"][0].permute(1, 2, 0).numpy(), pixels)
    assert there["derm"].tolist() == [True]


def test_folders_are_searched_in_order(tmp_path, write_image):
    write_image(tmp_path / "two" / "a.png", seed=2)
    first = write_image(tmp_path / "one" / "a.png", seed=1)
    second = write_image(tmp_path / "two" / "b.png", seed=3)
    images, _ = load_images(
        source(folders=("one", "two"), suffix=".png"), pd.DataFrame({"file": ["a", "b"]}), str(tmp_path)
    )
    assert np.array_equal(images["derm"].permute(0, 2, 3, 1).numpy(), np.stack([first, second]))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (3, "L"), (1, "RGBA"), (3, "P"), (3, "CMYK")])
def test_any_mode_becomes_grey_or_colour(tmp_path, channels, mode):
    suffix = ".tif" if mode == "CMYK" else ".png"
    Image.new("RGB", (9, 5), (204, 204, 204)).convert(mode).save(tmp_path / f"a{suffix}")
    images, _ = load_images(source(size=(4, 6), channels=channels), pd.DataFrame({"file": [f"a{suffix}"]}), tmp_path)
    assert images["derm"].shape == (1, channels, 4, 6)
    assert (images["derm"].float() - 204).abs().max() <= 6


def test_a_photograph_is_turned_upright(tmp_path):
    image = Image.new("RGB", (4, 2))
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter clockwise
    image.save(tmp_path / "a.png", exif=exif)
    images, _ = load_images(source(size=(4, 2)), pd.DataFrame({"file": ["a.png"]}), tmp_path)
    assert images["derm"][0, 0].nonzero().tolist() == [[0, 1]]


def test_missing_files_are_named_all_at_once(tmp_path, write_image):
    write_image(tmp_path / "there.png")
    frame = pd.DataFrame({"file": ["there.png", *(f"gone{i}.png" for i in range(11)), None]}, index=range(100, 113))
    with pytest.raises(FileNotFoundError) as caught:
        load_images(source(), frame, tmp_path)
    message = str(caught.value)
    assert message.startswith("12 image(s)")
    assert "row 101, column 'file': gone0.png" in message
    assert "gone9.png" in message
    assert "gone10.png" not in message
    assert message.endswith("and 2 more")
    with pytest.raises(FileNotFoundError, match=r"row 112, column 'file': an empty cell"):
        load_images(source(), frame.tail(1), tmp_path)


def test_absent_images_are_zeros_when_that_is_asked_for(tmp_path, write_image):
    write_image(tmp_path / "a.png")
    frame = pd.DataFrame({"file": ["gone.png", "a.png", None]})
    images, there = load_images(source(), frame, tmp_path, missing="absent")
    assert there["derm"].tolist() == [False, True, False]
    assert not images["derm"][0].any()
    assert images["derm"][1].any()


@pytest.mark.parametrize("missing", ["error", "absent"])
@pytest.mark.parametrize("content", ["truncated", "text", "empty"])
def test_damaged_files_are_named_whatever_missing_ones_mean(tmp_path, write_image, content, missing):
    for name in ("a.jpg", "b.jpg"):
        write_image(tmp_path / name, size=(64, 64))
    whole = (tmp_path / "b.jpg").read_bytes()
    (tmp_path / "b.jpg").write_bytes({"truncated": whole[: len(whole) // 2], "text": b"hello", "empty": b""}[content])
    with pytest.raises(ValueError, match=r"^1 image file\(s\) cannot be decoded.*row 1: .*b\.jpg") as caught:
        load_images(source(), pd.DataFrame({"file": ["a.jpg", "b.jpg"]}), tmp_path, missing=missing)
    assert "a.jpg" not in str(caught.value)


def test_progress_counts_images_up_to_their_number(tmp_path, write_image):
    for i in range(3):
        write_image(tmp_path / f"{i}.png")
    seen = []
    load_images(
        source(), pd.DataFrame({"file": ["0.png", "1.png", "2.png"]}), tmp_path, progress=lambda *n: seen.append(n)
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_wrong_arguments(tmp_path):
    frame = pd.DataFrame({"file": ["a.png"]})
    with pytest.raises(FileNotFoundError, match=r"image folder .*nowhere is not there"):
        load_images(source(), frame, tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"no column 'file'; its columns are: path"):
        load_images(source(), frame.rename(columns={"file": "path"}), tmp_path)
    with pytest.raises(ValueError, match="expects 'error' or 'absent', got 'skip'"):
        load_images(source(), frame, tmp_path, missing="skip")
    with pytest.raises(ValueError, match="channels 1 or 3, got 4"):
        source(channels=4)
    with pytest.raises(ValueError, match="size"):
        source(size=(8,))
    with pytest.raises(ValueError, match="at least one folder"):
        source(folders=())


def test_no_image_modality_needs_no_folder():
    assert load_images({}, pd.DataFrame({"a": [1]}), Path("nowhere")) == ({}, {})
