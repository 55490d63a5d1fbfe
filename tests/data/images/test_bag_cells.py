"""Cells that name several images: what is a name, what a pattern, and what is missing."""

from pathlib import Path

import pandas as pd
import pytest

from mmfusion.data.images.listing import Listing
from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.images.sources import check_images, find_images, load_images
from mmfusion.data.images.stack import StackSource
from mmfusion.data.images.volumes import VolumeSource

FILES = (
    "case7/b.png", "case7/a.PNG", "case7/.hidden.png", "case7/deep/c.png", "case7/note.txt",
    "odd[1].png", "odd1.png", "x;y.png", "x", "y.png", "Höhe/1.png",
)  # fmt: skip
PHOTO = ImageSource("photo", (8, 8), bag=4)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    (tmp_path / "case7" / "deep" / "loop").symlink_to(tmp_path / "case7")
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("case7/*.png", ["case7/a.PNG", "case7/b.png"]),
        ("CASE7/?.png", ["case7/a.PNG", "case7/b.png"]),
        ("case7/[b-z].png", ["case7/b.png"]),
        ("*/*.png", ["Höhe/1.png", "case7/a.PNG", "case7/b.png"]),
        ("case7/**/*.png", ["case7/a.PNG", "case7/b.png", "case7/deep/c.png"]),
        ("**/c.png", ["case7/deep/c.png"]),
        ("case7/../x*", ["case7/../x", "case7/../x;y.png"]),
        ("H*he/1.png", ["Höhe/1.png"]),
        ("nowhere/*", []),
        ("*/nowhere", []),
        ("", []),
        ("a\0*", []),
    ],
)
def test_patterns_match_files(root: Path, pattern: str, expected: list[str]) -> None:
    assert sorted(Listing().matches(root, pattern)) == sorted(expected)


@pytest.mark.parametrize(
    ("cell", "expected", "lacking"),
    [
        ("y.png", ["y.png"], []),
        (" y.png ;; odd1.png; ", ["y.png", "odd1.png"], []),
        ("y.png;y.png;*.png", ["y.png", "odd1.png", "odd[1].png", "x;y.png"], []),
        ("y.png;./y.png;case7/../y.png", ["y.png"], []),
        ("x;y.png", ["x;y.png"], []),
        ("odd[1].png", ["odd[1].png"], []),
        ("odd[1].png;x", ["odd[1].png", "x"], []),
        ("case7/*.png", ["case7/a.PNG", "case7/b.png"], []),
        ("y.png;gone.png;case9/*", ["y.png"], ["gone.png", "case9/*"]),
        ("gone/*.png", [], ["gone/*.png"]),
        (";", [], [";"]),
    ],
)
def test_cells_list_files(root: Path, cell: str, expected: list[str], lacking: list[str]) -> None:
    """A file of exactly that name comes first; each file counts once."""
    files = find_images({"photo": PHOTO}, pd.DataFrame({"photo": [cell]}), root)
    assert [str(path.relative_to(root)) for path in files.paths["photo"][0]] == expected
    assert files.absent == [f"row 0, column 'photo': {name}" for name in lacking]


def test_single_image_reads_cell_as_one_name(root: Path) -> None:
    frame = pd.DataFrame({"photo": ["x;y.png", "y.png;odd1.png", "case7/*.png"]})
    files = find_images({"photo": ImageSource("photo", (8, 8))}, frame, root)
    assert [len(paths) for paths in files.paths["photo"]] == [1, 0, 0]
    assert files.absent[0] == "row 1, column 'photo': y.png;odd1.png (read as one name)"


def test_folders_suffixes_and_slice_folders(root: Path) -> None:
    source = ImageSource("photo", (8, 8), folders=("nowhere", "case7"), suffix=".png", bag=4)
    (paths,) = find_images({"photo": source}, pd.DataFrame({"photo": ["b; ?"]}), root).paths["photo"]
    assert [path.name for path in paths] == ["b.png", "a.PNG"]
    slices = VolumeSource("photo", (8, 8, 4), axes="hws", format="dicom", bag=4)
    (paths,) = find_images({"photo": slices}, pd.DataFrame({"photo": ["case?"]}), root).paths["photo"]
    assert paths == (root / "case7",)
    with pytest.raises(ValueError, match="one stack per case, volumes with bag=1, got 4"):
        StackSource(VolumeSource("photo", (8, 8, 4), axes="hws", bag=4), ("a.nii",))


def test_too_many_images_raise(root: Path) -> None:
    frame = pd.DataFrame({"photo": ["case7/*.png;odd1.png;y.png;x", "gone.png"]})
    message = (
        "row 0, column 'photo': case7/*.png;odd1.png;y.png;x are 5 images, at most 4 are read per case: name fewer"
    )
    assert check_images({"photo": PHOTO}, frame, root)[0].startswith(message)
    with pytest.raises(ValueError, match=r"1 case\(s\) have too many images: row 0, column 'photo'.* are 5 images"):
        load_images({"photo": PHOTO}, frame, root, missing="absent")
    with pytest.raises(FileNotFoundError, match=r"1 image\(s\) of the table are not in .*: row 1, .*: gone\.png"):
        load_images({"photo": PHOTO}, frame, root)


def test_source_without_bag_is_stored_as_before() -> None:
    assert "bag" not in ImageSource("photo", (8, 8)).to_dict()
    assert PHOTO.to_dict()["bag"] == 4
    assert PHOTO.spec.bag == 4
