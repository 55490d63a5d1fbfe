from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import trees
from mmfusion.data.datasets.check import check
from mmfusion.data.datasets.planned import PlannedDataset
from mmfusion.registry import datasets

MEN = {"shape": list(trees.VOLUME), "size": list(trees.VOLUME)}
TABLE = {"label": "diagnosis", "images": ["photo", "second view"], "group": "patient"}


def options(name: str, root: Path) -> dict[str, object]:
    return {"men": MEN, "table": {**TABLE, "table": str(root / "table.csv")}}.get(name, {})


MAKE: dict[str, Callable[[Path], Path]] = {
    "bus_bra": trees.bus_bra,
    "derm7pt": trees.derm7pt,
    "men": lambda root: trees.men(root, train=2, test=1),
    "pad_ufes_20": lambda root: trees.pad_ufes_20(root, 36),
    "table": lambda root: trees.own_table(root, 30),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKE)
def test_complete_folder_has_no_faults(name: str, tmp_path: Path) -> None:
    root = MAKE[name](tmp_path)
    for fast in (False, True):
        report = check(name, root, fast=fast, **options(name, root))
        assert report.faults == ()
        assert str(report).endswith(f"{name}: no faults")


def test_ham10000_has_no_faults(ham_root: Path) -> None:
    report = check("ham10000", ham_root)
    assert report.faults == ()
    assert report.lines[:2] == ("images: 60, published 10015", "lesions: 40, published 7470")
    assert any("This is a part of the published data" in line for line in report.lines)


@pytest.mark.slow
def test_counts_are_listed_next_to_published_ones(tmp_path: Path) -> None:
    lines = check("derm7pt", trees.derm7pt(tmp_path)).lines
    assert lines[0] == "train: NEV 8 (published 256), MEL 5 (published 90)"
    assert lines[3] == "all: NEV 19, MEL 14"
    assert "This is a part of the published data: results are not comparable with those on all of it." in lines


@pytest.mark.slow
def test_more_cases_than_published_is_a_fault(tmp_path: Path) -> None:
    counts = {"train": {"NEV": 257, "MEL": 90}, "valid": {"NEV": 100, "MEL": 61}, "test": {"NEV": 219, "MEL": 101}}
    root = trees.derm7pt(tmp_path, counts, others=0, images=False)
    faults = check("derm7pt", root).faults
    assert faults[-1] == "train: 257 of NEV are more than the 256 published"
    assert len(faults) == 1 + 2 * sum(sum(part.values()) for part in counts.values())


@pytest.mark.slow
def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    root = trees.pad_ufes_20(tmp_path, 36)
    for i in range(12):
        (root / "images" / f"PAT_{i // 2}_{i}_{100 + i}.png").unlink()
    (root / "images" / "PAT_10_20_120.png").write_bytes(b"hello")
    path = root / "images" / "PAT_10_21_121.png"
    path.write_bytes(path.read_bytes()[:-80])
    report = check("pad_ufes_20", root, fast=True)
    assert len(report.faults) == 13
    assert report.faults[0] == "row 0, column 'img_id': PAT_0_0_100.png does not exist"
    assert "PAT_10_20_120.png" in report.faults[12]
    # Behind its header.
    assert "PAT_10_21_121.png" in check("pad_ufes_20", root).faults[13]


def test_faults_of_table_and_files_are_reported_together(tmp_path: Path) -> None:
    root = trees.pad_ufes_20(tmp_path, 36)
    trees.edit(root / "metadata.csv", lambda t: t.assign(diagnostic=["X"] * 15 + list(t["diagnostic"][15:])))
    (root / "images" / "PAT_10_20_120.png").unlink()
    assert len(check("pad_ufes_20", root).faults) == 16


def test_every_dataset_that_reads_a_folder_can_be_checked() -> None:
    reading = {name for name in datasets.list() if "root" in datasets.options(name) and "synthetic" not in name}
    assert reading == {name for name in datasets.list() if isinstance(datasets.get(name), PlannedDataset)}
