import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.images.sources import load_images, source_from_dict


def source(**options) -> dict[str, ImageSource]:
    return {"derm": ImageSource("file", **{"size": (8, 8), **options})}


def test_lossless_pixels_are_unchanged(tmp_path, write_image):
    pixels = write_image(tmp_path / "a.png")
    images, present = load_images(source(), pd.DataFrame({"file": ["a.png"]}), tmp_path)
    assert images["derm"].dtype == torch.uint8
    assert np.array_equal(images["derm"][0].permute(1, 2, 0).numpy(), pixels)
    assert present["derm"].tolist() == [True]


def test_folders_are_searched_in_order(tmp_path, write_image):
    write_image(tmp_path / "two" / "a.png", seed=2)
    first = write_image(tmp_path / "one" / "a.png", seed=1)
    second = write_image(tmp_path / "two" / "b.png", seed=3)
    images, _ = load_images(
        source(folders=("one", "two"), suffix=".png"), pd.DataFrame({"file": ["a", "b"]}), str(tmp_path)
    )
    assert np.array_equal(images["derm"].permute(0, 2, 3, 1).numpy(), np.stack([first, second]))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (3, "L"), (1, "RGBA"), (3, "P"), (3, "CMYK")])
def test_any_mode_becomes_gray_or_color(tmp_path, channels, mode):
    suffix = ".tif" if mode == "CMYK" else ".png"
    Image.new("RGB", (9, 5), (204, 204, 204)).convert(mode).save(tmp_path / f"a{suffix}")
    images, _ = load_images(source(size=(4, 6), channels=channels), pd.DataFrame({"file": [f"a{suffix}"]}), tmp_path)
    assert images["derm"].shape == (1, channels, 4, 6)
    assert (images["derm"].float() - 204).abs().max() <= 6


def test_exif_orientation_is_applied(tmp_path):
    image = Image.new("RGB", (4, 2))
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter clockwise
    image.save(tmp_path / "a.png", exif=exif)
    images, _ = load_images(source(size=(4, 2)), pd.DataFrame({"file": ["a.png"]}), tmp_path)
    assert images["derm"][0, 0].nonzero().tolist() == [[0, 1]]


def decode(path: Path, **options) -> np.ndarray:
    return ImageSource("file", **{"size": (2, 2), "channels": 1, **options}).decode(path)


DEEP = np.array([[0, 65535], [32768, 4095]])


@pytest.mark.parametrize(
    ("name", "dtype"), [("a.png", np.uint16), ("a.tif", np.uint16), ("b.tif", ">u2"), ("c.tif", np.int32)]
)
def test_deep_gray_is_scaled_not_clipped(tmp_path, name, dtype):
    Image.fromarray(DEEP.astype(dtype)).save(tmp_path / name)
    assert decode(tmp_path / name).tolist() == [[[0, 255], [128, 16]]]
    # 12 bits in 16: what lies beyond is white.
    assert decode(tmp_path / name, range=(0, 4095)).tolist() == [[[0, 255], [255, 255]]]
    assert decode(tmp_path / name, channels=3).tolist() == [[[0, 255], [128, 16]]] * 3


def test_deep_gray_is_resized_before_rounding(tmp_path):
    Image.fromarray(np.array([[0, 257], [257, 514]], dtype=np.uint16)).save(tmp_path / "a.png")
    # The mean is 257, which is 1 of 255; rounded first it would be the same four bytes averaged.
    assert decode(tmp_path / "a.png", size=(1, 1)).tolist() == [[[1]]]
    assert decode(tmp_path / "a.png", size=(1, 1), range=(0, 514)).tolist() == [[[128]]]


def test_floating_point_gray_needs_range(tmp_path):
    Image.fromarray(np.array([[0.0, 1.0], [0.5, -3.0]], dtype=np.float32)).save(tmp_path / "a.tif")
    assert decode(tmp_path / "a.tif", range=(0, 1)).tolist() == [[[0, 255], [128, 0]]]
    for look in (ImageSource("file", (2, 2)).decode, ImageSource("file", (2, 2)).probe):
        with pytest.raises(ValueError, match=r"floating-point numbers: give the values .* by range"):
            look(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.array([[0, 70000]], dtype=np.int32), {}, "go from 0 to 70000, more than 16 bits: .*by range"),
        (np.array([[-1, 5]], dtype=np.int32), {}, "go from -1 to 5, more than 16 bits"),
        (np.array([[0.0, np.nan]], dtype=np.float32), {"range": (0, 1)}, "pixels that are NaN or infinite"),
        (np.array([[0.0, np.inf]], dtype=np.float32), {"range": (0, 1)}, "pixels that are NaN or infinite"),
    ],
)
def test_invalid_deep_values_raise(tmp_path, values, options, message):
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=message):
        decode(tmp_path / "a.tif", size=(1, 2), **options)


def test_transparency_is_dropped(tmp_path):
    pixels = np.array([[[10, 20, 30, 0], [40, 50, 60, 255]]], dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png", size=(1, 2), channels=3).tolist() == [[[10, 40]], [[20, 50]], [[30, 60]]]
    Image.fromarray(pixels[..., 2:]).save(tmp_path / "b.png")
    assert decode(tmp_path / "b.png", size=(1, 2)).tolist() == [[[30, 60]]]


def test_palette_gives_its_colors(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([1, 2, 3, 200, 100, 50])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png", size=(1, 2), channels=3).tolist() == [[[1, 200]], [[2, 100]], [[3, 50]]]


def test_binary_image(tmp_path):
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png", size=(1, 2)).tolist() == [[[255, 0]]]


@pytest.mark.parametrize("name", ["a.gif", "a.tif"])
def test_first_frame_of_animation(tmp_path, name):
    frames = [Image.new("L", (2, 2), value) for value in (40, 200)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    assert decode(tmp_path / name).tolist() == [[[40, 40], [40, 40]]]


def test_check_reads_header_only(tmp_path, write_image):
    write_image(tmp_path / "a.jpg", size=(64, 64))
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    source()["derm"].probe(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes(b"hello")
    with pytest.raises(ValueError, match="cannot identify image file"):
        source()["derm"].probe(tmp_path / "a.jpg")


def test_json_round_trip_and_json_of_older_runs():
    item = ImageSource("file", (8, 6), folders=("a", "b"), suffix=".png", range=(0, 4095), channels=1)
    assert source_from_dict(json.loads(json.dumps(item.to_dict()))) == item
    older = {"column": "file", "size": [8, 6], "channels": 3, "folders": [""], "suffix": ".jpg"}
    assert source_from_dict(older) == ImageSource("file", (8, 6), suffix=".jpg")


def test_missing_files_are_reported_together(tmp_path, write_image):
    write_image(tmp_path / "there.png")
    frame = pd.DataFrame({"file": ["there.png", *(f"gone{i}.png" for i in range(11)), None]}, index=range(100, 113))
    with pytest.raises(FileNotFoundError) as caught:
        load_images(source(), frame, tmp_path)
    message = str(caught.value)
    assert message.startswith("12 image(s)")
    assert "row 101, column 'file': gone0.png" in message
    assert "gone9.png" in message
    assert "gone10.png" not in message
    assert " and 2 more" in message
    assert "missing_images='absent'" in message
    with pytest.raises(FileNotFoundError, match=r"row 112, column 'file': an empty cell"):
        load_images(source(), frame.tail(1), tmp_path)


def test_absent_images_are_zeros_if_allowed(tmp_path, write_image):
    write_image(tmp_path / "a.png")
    frame = pd.DataFrame({"file": ["gone.png", "a.png", None]})
    images, present = load_images(source(), frame, tmp_path, missing="absent")
    assert present["derm"].tolist() == [False, True, False]
    assert not images["derm"][0].any()
    assert images["derm"][1].any()


@pytest.mark.parametrize("missing", ["error", "absent"])
@pytest.mark.parametrize("content", ["truncated", "text", "empty"])
def test_damaged_files_raise_even_if_missing_ones_may(tmp_path, write_image, content, missing):
    for name in ("a.jpg", "b.jpg"):
        write_image(tmp_path / name, size=(64, 64))
    whole = (tmp_path / "b.jpg").read_bytes()
    (tmp_path / "b.jpg").write_bytes({"truncated": whole[: len(whole) // 2], "text": b"hello", "empty": b""}[content])
    with pytest.raises(ValueError, match=r"^1 image file\(s\) cannot be decoded.*row 1, column .*b\.jpg") as caught:
        load_images(source(), pd.DataFrame({"file": ["a.jpg", "b.jpg"]}), tmp_path, missing=missing)
    assert "a.jpg" not in str(caught.value)


def test_progress_counts_images(tmp_path, write_image):
    for i in range(3):
        write_image(tmp_path / f"{i}.png")
    seen = []
    load_images(
        source(), pd.DataFrame({"file": ["0.png", "1.png", "2.png"]}), tmp_path, progress=lambda *n: seen.append(n)
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_invalid_arguments_raise(tmp_path):
    frame = pd.DataFrame({"file": ["a.png"]})
    with pytest.raises(FileNotFoundError, match=r"image folder .*nowhere does not exist"):
        load_images(source(), frame, tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"no column 'file'; its columns are: path"):
        load_images(source(), frame.rename(columns={"file": "path"}), tmp_path)
    with pytest.raises(ValueError, match="missing expects one of error, absent, got 'skip'"):
        load_images(source(), frame, tmp_path, missing="skip")
    with pytest.raises(ValueError, match="channels expects one of 1, 3, got 4"):
        source(channels=4)
    with pytest.raises(ValueError, match="size"):
        source(size=(8,))
    with pytest.raises(ValueError, match="folders expects 1 to 1000 values"):
        source(folders=())
    with pytest.raises(ValueError, match=r"folders expects .*, got 'images'"):
        source(folders="images")
    with pytest.raises(ValueError, match=r"range expects a list of float in ascending order or none, got \(5, 5\)"):
        source(range=(5, 5))


def test_no_image_modality_needs_no_root():
    assert load_images({}, pd.DataFrame({"a": [1]}), Path("nowhere")) == ({}, {})


def test_channel_order_is_configurable(tmp_path, write_image):
    """As OpenCV reads them; the default order is not in the JSON."""
    write_image(tmp_path / "a.png", size=(4, 5))
    usual, turned = (ImageSource("image", (4, 5), order=order) for order in ("rgb", "bgr"))
    np.testing.assert_array_equal(turned.decode(tmp_path / "a.png"), usual.decode(tmp_path / "a.png")[::-1])
    assert "order" not in usual.to_dict()
    for source in (usual, turned):
        assert source_from_dict(source.to_dict()) == source
    for options in ({"order": "grb"}, {"order": "bgr", "channels": 1}):
        with pytest.raises(ValueError, match=r"order .*(expects one of rgb, bgr|'bgr' expects 3 channels)"):
            ImageSource("image", (4, 5), **options)
