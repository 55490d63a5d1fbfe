import os
from pathlib import Path

import pytest

from mmfusion.data.images.listing import Listing
from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.images.sources import find_images


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("NEL/Nel025.jpg", "NEL/a.png", "NEL/A.png", "deep/er/x.txt", ".hidden/x", "caf\u00e9.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("NEL/Nel025.jpg", "NEL/Nel025.jpg"),
        ("NEL/NEL025.JPG", "NEL/Nel025.jpg"),
        ("nel/nel025.jpg", "NEL/Nel025.jpg"),
        ("NEL/a.png", "NEL/a.png"),
        ("NEL/A.png", "NEL/A.png"),
        ("NEL/a.PNG", None),
        ("NEL", None),
        ("NEL/none.jpg", None),
        ("none/Nel025.jpg", None),
        ("NEL/Nel025.jpg/more", None),
        ("./deep//er/x.txt", "deep/er/x.txt"),
        ("NEL/../deep/er/x.txt", "NEL/../deep/er/x.txt"),
        ("NEL/../none", None),
        ("cafe\u0301.jpg", "caf\u00e9.jpg"),
        ("", None),
    ],
)
def test_file_lookup(root: Path, name: str, result: str | None) -> None:
    assert Listing().file(root, name) == (None if result is None else root / result)


def test_folder_lookup(root: Path) -> None:
    listing = Listing()
    assert listing.folder(root, "nel") == root / "NEL"
    assert listing.folder(root, "NEL/a.png") is None
    assert listing.folder(root, "") == root
    assert listing.entries(root) == {"NEL": True, "café.jpg": False, "deep": True}
    assert listing.entries(root / "none") == {}
    assert listing.file(root, str(root / "NEL" / "a.png")) == root / "NEL" / "a.png"


def test_dangling_link_is_not_found(root: Path) -> None:
    (root / "gone.jpg").symlink_to(root / "none.jpg")
    (root / "there.jpg").symlink_to(root / "NEL" / "a.png")
    assert Listing().file(root, "gone.jpg") is None
    assert Listing().file(root, "there.jpg") == root / "there.jpg"


def test_each_folder_is_listed_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pandas as pd

    seen: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda place: seen.append(str(place)) or scandir(place))
    frame = pd.DataFrame({"file": ["NEL/NEL025.JPG", "NEL/a.png", "NEL/b.png"] * 20})
    result = find_images({"image": ImageSource("file", (8, 8))}, frame, root)
    assert result.paths["image"][:3] == [(root / "NEL/Nel025.jpg",), (root / "NEL/a.png",), ()]
    assert sorted(seen) == [str(root), str(root / "NEL")]


def test_other_extensions_are_found(root: Path) -> None:
    source = ImageSource("file", (8, 8), folders=("", "NEL"), endings=(".png", ".jpg"))
    assert source.find(root, "Nel025.png") == root / "NEL/Nel025.jpg"
    assert source.find(root, "Nel025.gif") == root / "NEL/Nel025.jpg"
    assert source.find(root, "a.jpg") == root / "NEL/a.png"
    assert ImageSource("file", (8, 8), folders=("NEL",)).find(root, "Nel025.png") is None
