"""A table of one's own whose cells name several images."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from mmfusion.data import DatasetError, TableDataset
from mmfusion.data.datasets.check import check
from mmfusion.data.images.bag_rows import BagRows
from mmfusion.data.images.cache import ImageCache
from mmfusion.data.reader import CaseReader
from mmfusion.spec import DataSpec

N = 24


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cases of one to three images, named or by a pattern; not to be changed."""
    root = tmp_path_factory.mktemp("bags")
    rng = np.random.default_rng(0)
    rows = []
    for i in range(N):
        names = [f"case{i}/{j}.png" for j in range(1 + i % 3)]
        for name in names:
            (root / name).parent.mkdir(exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(root / name)
        cell = f"case{i}/*.png" if i % 4 == 0 else " ; ".join(names)
        rows.append({"case": f"c{i}", "photo": cell, "age": 40 + i, "y": "ab"[i // 3 % 2], "part": "train"})
    parts = ["train"] * 16 + ["validation"] * 4 + ["test"] * 4
    pd.DataFrame(rows).assign(part=parts).to_csv(root / "table.csv", index=False)
    return root


def opened(table: pd.DataFrame | Path, root: Path | None = None, **options: Any) -> TableDataset:
    return TableDataset(table, label="y", images="photo", test="part", id="case", root=root, size=8, **options)


def changed(whole: Path, rows: dict[int, str], **options: Any) -> TableDataset:
    frame = pd.read_csv(whole / "table.csv")
    for row, cell in rows.items():
        frame.loc[row, "photo"] = cell
    return opened(frame, whole, **options)


def test_several_images_per_case_are_recognized(whole: Path, tmp_path: Path) -> None:
    dataset = opened(whole / "table.csv")
    assert "Column 'photo' names several images per case, which are pooled: 1 to 3 images per case, median 2" in (
        " ".join(dataset.notes)
    )
    assert "bags of images of column 'photo', 3 x 8x8" in dataset.about
    bundle = dataset.load()
    assert bundle.spec["photo"].bag == 32
    assert bundle.train.n_images("photo").tolist() == [1 + i % 3 for i in range(16)]
    assert (
        CaseReader.from_dict(bundle.reader.to_dict()).spec == DataSpec.from_dict(bundle.spec.to_dict()) == bundle.spec
    )
    # From a cache, and batch by batch, the same.
    cached = bundle.reader.read(dataset.frame, whole, cache=ImageCache(tmp_path / "cache"))
    assert torch.equal(cached.pixels("photo"), bundle.reader.read(dataset.frame, whole).pixels("photo"))
    assert bundle.reader.read(dataset.frame.drop(columns="photo"), without=["photo"]).n_images("photo").sum() == 0


def test_a_table_without_them_is_as_before(whole: Path) -> None:
    frame = pd.read_csv(whole / "table.csv").assign(photo=[f"case{i}/0.png" for i in range(N)])
    bundle = opened(frame, whole).load()
    assert bundle.spec["photo"].bag == 1
    assert "bag" not in str(bundle.reader.to_dict())
    assert "bag" not in str(bundle.spec.to_dict())
    assert not isinstance(bundle.train._images["photo"], BagRows)


@pytest.mark.parametrize("cell", ["gone[1].png", "what?.png"])
def test_a_missing_name_with_such_a_character_makes_no_bags(whole: Path, cell: str) -> None:
    frame = pd.read_csv(whole / "table.csv").assign(photo=[cell, *(f"case{i}/0.png" for i in range(1, N))])
    dataset = opened(frame, whole, missing_images="absent")
    assert dataset.reader.spec["photo"].bag == 1


def test_all_faults_at_once(whole: Path) -> None:
    rows = {0: "case0/*.png; gone.png;also.png", 3: "nowhere/*.png", 5: "case1/*.png;case2/*.png;case4/*.png"}
    dataset = changed(whole, rows)
    with pytest.raises(FileNotFoundError) as caught:
        dataset.load()
    for text in ("3 image(s)", "row 0, column 'photo': gone.png", "row 0, column 'photo': also.png", "nowhere/*.png"):
        assert text in str(caught.value)
    with pytest.raises(DatasetError, match=r"row 5, .* are 7 images, at most 4 are read .*with a larger max_images"):
        changed(whole, rows, max_images=4)
    frame = pd.read_csv(whole / "table.csv")
    frame.loc[list(rows), "photo"] = list(rows.values())
    report = check("table", whole, table=frame, label="y", images="photo", test="part", size=8)
    assert [fault for fault in report.faults if "does not exist" in fault] == [
        f"row {row}, column 'photo': {name} does not exist"
        for row, name in ((0, "gone.png"), (0, "also.png"), (3, "nowhere/*.png"))
    ]


def test_absent_images_leave_the_others(whole: Path) -> None:
    data = changed(whole, {0: "case0/*.png; gone.png", 3: "nowhere/*.png", 4: ""}, missing_images="absent").load().train
    assert data.n_images("photo")[[0, 3, 4]].tolist() == [1, 0, 0]
    assert data.present("photo")[[0, 3, 4]].tolist() == [True, False, False]


def test_damaged_files_are_named_with_their_row(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no image")
    (tmp_path / "worse.png").write_bytes(b"")
    frame = pd.read_csv(whole / "table.csv")
    frame["photo"] = [f"{whole}/case{i}/0.png" for i in range(N)]
    frame.loc[2, "photo"] += f"; {tmp_path}/*.png"
    for cache in (None, ImageCache(tmp_path / "cache")):
        with pytest.raises(ValueError, match=r"2 image file\(s\) cannot be decoded") as caught:
            opened(frame, tmp_path).load(cache=cache)
        assert str(caught.value).count("row 2, column 'photo'") == 2


def test_kinds_are_those_of_the_files_of_patterns(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "scan.nii.gz").touch()
    with pytest.raises(DatasetError, match=r"several kinds of files \(images such as .*, NIfTI volumes such as"):
        changed(whole, {0: f"case0/0.png;{tmp_path}/*"})


def test_every_image_is_checked(whole: Path, tmp_path: Path) -> None:
    """A copy in another set and one within a case are found, all are drawn, and the number of images is a property."""
    (tmp_path / "copy.png").write_bytes((whole / "case2" / "2.png").read_bytes())
    (tmp_path / "twice.png").write_bytes((whole / "case5" / "1.png").read_bytes())
    frame = pd.read_csv(whole / "table.csv")
    frame.loc[20, "photo"] += f"; {tmp_path}/copy.png"
    frame.loc[5, "photo"] += f"; {tmp_path}/twice.png"
    report = check("table", whole, table=frame, label="y", images="photo", test="part", size=8)
    assert report.faults == ()
    texts = [finding.text for finding in report.warnings if finding.topic == "duplicates"]
    assert any("two sets" in text and "2.png" in text and "copy.png" in text for text in texts)
    assert any("twice" in text and "1.png and row 5" in text for text in texts)
    report.write_page(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert [text in page for text in ("<h3>a: 25</h3>", "<h3>b: 25</h3>")] == [True, True]
    # Each case of class b has three images, each of class a one.
    counts = pd.read_csv(whole / "table.csv")
    three = [
        f"case{i}/0.png" + f";case{i // 3 * 3 + 2}/1.png;case{i // 3 * 3 + 2}/2.png" * (y == "b")
        for i, y in enumerate(counts["y"])
    ]
    report = check("table", whole, table=counts.assign(photo=three), label="y", images="photo", test="part", size=8)
    assert any("number of images" in finding.text for finding in report.warnings if finding.topic == "files")
