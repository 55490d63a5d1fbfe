import datetime
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mmfusion.data.datasets.table import TableDataset
from mmfusion.data.schema.table_file import read_table
from mmfusion.data.schema.table_schema import TableSchema

openpyxl = pytest.importorskip("openpyxl")


def write(path: Path, rows: list[list[Any]], title: str = "cases") -> Path:
    book = openpyxl.Workbook()
    book.active.title = title
    for row in rows:
        book.active.append(row)
    book.save(path)
    return path


def test_cells_keep_their_types(tmp_path: Path) -> None:
    day = datetime.datetime(2020, 3, 1)
    rows = [["id", "age", "crp", "visit", "sex", "mixed", " y "], ["001", 40, "<0.5", day, "f", day, 0]]
    rows += [["002", None, 7.5, None, "m", 3, 1], [None] * 7, ["003", 50.5, "#DIV/0!", day, None, "x", 1], [None, " "]]
    frame = read_table(write(tmp_path / "a.xlsx", rows))
    assert list(frame.columns) == ["id", "age", "crp", "visit", "sex", "mixed", "y"]
    assert frame["id"].tolist() == ["001", "002", "003"]
    assert frame["age"].dtype == float
    assert frame["crp"].tolist() == ["<0.5", 7.5, "#DIV/0!"]
    assert pd.api.types.is_datetime64_any_dtype(frame["visit"])
    assert frame["mixed"].tolist() == ["2020-03-01", 3, "x"]
    assert frame["y"].tolist() == [0, 1, 1]


def test_distant_formatted_cell_takes_no_memory(tmp_path: Path) -> None:
    book = openpyxl.load_workbook(write(tmp_path / "a.xlsx", [["a", "b"], [1, 2], [3, None]]))
    book.active["ZZ4000"].font = openpyxl.styles.Font(bold=True)
    book.save(tmp_path / "a.xlsx")
    tracemalloc.start()
    try:
        frame = read_table(tmp_path / "a.xlsx")
        assert tracemalloc.get_traced_memory()[1] < 2**24  # a cell for each place would be half a gigabyte
    finally:
        tracemalloc.stop()
    assert frame["a"].tolist() == [1, 3]
    assert frame["b"].tolist() == [2, pytest.approx(float("nan"), nan_ok=True)]


def test_wrong_sheet_range_hides_no_cell(tmp_path: Path) -> None:
    write(tmp_path / "a.xlsx", [["a", "b"], [1, 2], [3, 4]])
    with zipfile.ZipFile(tmp_path / "a.xlsx") as old, zipfile.ZipFile(tmp_path / "b.xlsx", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content.replace(b'<dimension ref="A1:B3"', b'<dimension ref="A1"'))
            assert (content.count(b"A1:B3") == 1) == name.endswith("sheet1.xml")
    assert read_table(tmp_path / "b.xlsx").to_numpy().tolist() == [[1, 2], [3, 4]]


@pytest.mark.slow
def test_features_match_those_from_csv(tmp_path: Path) -> None:
    rows = [
        [i, 40 + i % 23, ["yes", "no"][i % 2], f"{1 + i % 28:02d}.03.2020", 0.5 + i % 7, ["a", "b"][i % 3 % 2]]
        for i in range(60)
    ]
    text = pd.DataFrame(rows, columns=["nr", "age", "smoker", "visit", "crp", "y"])
    text.to_csv(tmp_path / "a.csv", index=False)
    header = list(text.columns)
    dates = [[*row[:3], datetime.datetime.strptime(row[3], "%d.%m.%Y"), *row[4:]] for row in rows]
    write(tmp_path / "a.xlsx", [header, *dates])
    fitted = [TableSchema.infer(read_table(tmp_path / name), drop=["y"]) for name in ("a.csv", "a.xlsx")]
    assert [column.kind for column in fitted[0]] == [column.kind for column in fitted[1]]
    tables = [schema.transform(read_table(tmp_path / name)) for schema, name in zip(fitted, ("a.csv", "a.xlsx"))]
    assert tables[0].numerical.allclose(tables[1].numerical, atol=1e-5)
    assert tables[0].categorical.equal(tables[1].categorical)
    dataset = TableDataset(tmp_path / "a.xlsx", label="y", sheet="cases")
    assert dataset.reader.targets["label"].classes == ("a", "b")


def two_sheets(path: Path) -> None:
    book = openpyxl.load_workbook(write(path, [["a"], [1]]))
    book.create_sheet("more").append(["b"])
    book.create_sheet("empty")
    book.save(path)


def merged(path: Path) -> None:
    book = openpyxl.load_workbook(write(path, [["a", "b"], [1, 2], [3, 4]]))
    book.active.merge_cells("A2:A3")
    book.save(path)


def bomb(path: Path) -> None:
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file,
        file.open("xl/worksheets/sheet1.xml", "w") as content,
    ):
        for _ in range(1100):
            content.write(bytes(2**20))


FILES = {
    "text": (lambda path: path.write_text("a,b"), "cannot be read as a spreadsheet"),
    "a zip": (lambda path: zipfile.ZipFile(path, "w").close(), "cannot be read as a spreadsheet"),
    "truncated": (
        lambda path: path.write_bytes(write(path, [["a"], [1]]).read_bytes()[:-300]),
        "cannot be read as a spreadsheet",
    ),
    "empty": (lambda path: write(path, []), "is empty: expected a header"),
    "header alone": (lambda path: write(path, [["a", "b"]]), "has a header and no rows"),
    "two sheets": (two_sheets, "has 2 sheets: cases, more: choose one, as in sheet='cases'"),
    "unnamed": (lambda path: write(path, [["a", None, "c"], [1, 2, 3]]), r"no name in the first row for column\(s\) B"),
    "formula": (lambda path: write(path, [["a"], ["=1+1"]]), "formulas have no stored value in A2: open the file"),
    "merged": (merged, "cells are merged, A2:A3: separate them"),
}


@pytest.mark.parametrize("kind", FILES)
def test_invalid_files_raise(tmp_path: Path, kind: str) -> None:
    make, message = FILES[kind]
    make(tmp_path / "a.xlsx")
    with pytest.raises(ValueError, match=message) as caught:
        read_table(tmp_path / "a.xlsx")
    assert "a.xlsx" in str(caught.value)


@pytest.mark.slow
def test_zip_bomb_raises(tmp_path: Path) -> None:
    bomb(tmp_path / "a.xlsx")
    with pytest.raises(ValueError, match=r"has 1\.15 GB of content, the limit is 1\.07 GB"):
        read_table(tmp_path / "a.xlsx")


def test_sheet_is_selectable(tmp_path: Path) -> None:
    two_sheets(tmp_path / "a.xlsx")
    assert list(read_table(tmp_path / "a.xlsx", sheet="cases").columns) == ["a"]
    with pytest.raises(ValueError, match="has no sheet 'empty' with cells; its sheets are: cases, more"):
        read_table(tmp_path / "a.xlsx", sheet="empty")
    (tmp_path / "b.csv").write_text("a\n1\n")
    with pytest.raises(ValueError, match="is no spreadsheet"):
        read_table(tmp_path / "b.csv", sheet="x")
