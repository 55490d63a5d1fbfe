import numpy as np
import pandas as pd
import pytest
import torch

from mmfusion.data.images import sources as module
from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.images.rows import DecodedRows
from mmfusion.data.images.sources import check_images, find_images, load_images
from mmfusion.data.images.threads import in_threads


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame({"fold": [1, 2, 2], "patient": ["a", "b", None], "file": ["x.png", "y.png", "z.png"]})


def test_file_name_pattern_of_columns(tmp_path, write_image, frame):
    write_image(tmp_path / "in" / "1fold" / "a-left.png")
    write_image(tmp_path / "in" / "2fold" / "b-left.png")
    source = ImageSource("{fold}fold/{patient}-left", (8, 8), folders=("in",), suffix=".png")
    result = find_images({"eye": source}, frame, tmp_path)
    assert result.paths["eye"] == [
        (tmp_path / "in" / "1fold" / "a-left.png",),
        (tmp_path / "in" / "2fold" / "b-left.png",),
        (),
    ]
    assert result.absent == ["row 2, column '{fold}fold/{patient}-left': an empty cell"]


def test_long_names_are_shortened_in_messages(tmp_path):
    (absent,) = find_images({"eye": ImageSource("file", (8, 8))}, pd.DataFrame({"file": ["a" * 5000]}), tmp_path).absent
    assert absent == f"row 0, column 'file': {'a' * 200}... (5000 characters)"


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("{fold}/{name}", "no column 'name'"),
        ("{fold", "not a pattern of columns"),
        ("{}/a", "names of columns in braces"),
        ("{fold:03}", "names of columns in braces"),
        ("{fold!r}", "names of columns in braces"),
    ],
)
def test_invalid_patterns_raise(tmp_path, frame, column, message):
    with pytest.raises(ValueError, match=message):
        find_images({"eye": ImageSource(column, (8, 8))}, frame, tmp_path)


def test_several_images_per_row_with_missing_ones(tmp_path, write_image, frame):
    for name in ("x.png", "z.png", "1.png"):
        write_image(tmp_path / name)
    both = {"derm": ImageSource("file", (8, 8)), "clinic": ImageSource("fold", (4, 4), channels=1, suffix=".png")}
    seen = []
    images, present = load_images(both, frame, tmp_path, missing="absent", progress=lambda *n: seen.append(n))
    assert present["derm"].tolist() == [True, False, True]
    assert present["clinic"].tolist() == [True, False, False]
    assert images["derm"].shape == (3, 3, 8, 8)
    assert images["clinic"].shape == (3, 1, 4, 4)
    assert not images["clinic"][1:].any()
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_check_finds_all_faults(tmp_path, write_image, frame):
    for name in ("x.png", "z.png"):
        write_image(tmp_path / name, size=(64, 64))
    whole = (tmp_path / "x.png").read_bytes()
    (tmp_path / "x.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "z.png").write_bytes(b"hello")
    both = {"derm": ImageSource("file", (8, 8)), "clinic": ImageSource("patient", (8, 8))}
    absent = ["row 1, column 'file': y.png", *(f"row {i}, column 'patient': {n}" for i, n in enumerate("ab"))]
    absent = [f"{line} does not exist" for line in absent]
    absent.append("row 2, column 'patient': an empty cell")
    seen = []
    faults = check_images(both, frame, tmp_path, progress=lambda *n: seen.append(n))
    assert faults[:4] == absent
    # Damage beyond the header is not looked for.
    assert [fault.split(" (")[0] for fault in faults[4:]] == [f"row 2, column 'file': {tmp_path / 'z.png'}"]
    assert seen == [(1, 2), (2, 2)]
    faults = check_images(both, frame, tmp_path, missing="absent", decode=True)
    assert [fault.split(" (")[0] for fault in faults] == [
        f"row {i}, column 'file': {tmp_path / n}" for i, n in ((0, "x.png"), (2, "z.png"))
    ]
    assert check_images({}, frame, tmp_path) == []
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        check_images(both, frame, tmp_path / "nowhere")
    with pytest.raises(ValueError, match="missing expects one of error, absent, got 'skip'"):
        check_images(both, frame, tmp_path, missing="skip")


def test_images_beyond_memory_are_decoded_per_batch(tmp_path, write_image, frame, monkeypatch):
    for i, name in enumerate(frame["file"]):
        write_image(tmp_path / name, seed=i)
    item = {"derm": ImageSource("file", (8, 8))}
    kept, _ = load_images(item, frame, tmp_path)
    monkeypatch.setattr(module, "IN_MEMORY", 3 * 8 * 8 * 3 - 1)
    with pytest.warns(UserWarning, match="more than is kept in memory: they are decoded again for each batch"):
        decoded, present = load_images(item, frame, tmp_path)
    assert isinstance(decoded["derm"], DecodedRows)
    assert torch.equal(decoded["derm"][torch.tensor([2, 0])], kept["derm"][[2, 0]])
    assert present["derm"].all()


def test_threads_keep_order_and_propagate_errors():
    assert list(in_threads(lambda i: i * i, range(100))) == [i * i for i in range(100)]

    def fails(i: int) -> int:
        return 1 // (i - 50)

    with pytest.raises(ZeroDivisionError):
        list(in_threads(fails, range(100)))
    assert list(in_threads(np.sqrt, [])) == []
