from pathlib import Path

import pandas as pd
import pytest

from mmfusion.data.schema.table_file import read_table


def written(folder: Path, content: bytes | str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        "id,age,site\na,1.50,\nb,NA,arm\n",
        "id;age;site\na;1.50;\nb;NA;arm\n",
        "id\tage\tsite\r\na\t1.50\t\r\nb\tNA\tarm\r\n",
        "id|age|site\n\na|1.50|\nb|NA|arm",
        "\ufeffid,age,site\na,1.50,\nb,NA,arm\n",
        'id,"age",site\na,"1.50"\nb,NA,"arm"\n',  # a short row is filled up
        "id,age,site\na,1.50,\nb,NA,arm\n".encode("utf-16"),
    ],
)
def test_cells_are_read_as_text(tmp_path: Path, content: bytes | str) -> None:
    frame = read_table(written(tmp_path, content))
    assert list(frame.columns) == ["id", "age", "site"]
    assert frame.to_numpy().tolist() == [["a", "1.50", ""], ["b", "NA", "arm"]]
    assert list(frame.index) == [0, 1]


def test_column_names_are_kept(tmp_path: Path) -> None:
    frame = read_table(written(tmp_path, "x,x, y \n1,2,3\n"))
    assert list(frame.columns) == ["x", "x", "y"]
    assert list(read_table(written(tmp_path, ",y\n0,3\n", "index.csv")).columns) == ["Unnamed: 0", "y"]


def test_quoted_cells_may_hold_separators_and_lines(tmp_path: Path) -> None:
    frame = read_table(written(tmp_path, 'id,said\na,"well, yes\nor no"\n'))
    assert frame["said"].tolist() == ["well, yes\nor no"]


def test_separator_and_encoding_options(tmp_path: Path) -> None:
    path = written(tmp_path, "id:größe,x\na:1,2\n".encode("cp1252"))
    assert read_table(path, separator=":", encoding="cp1252").columns.tolist() == ["id", "größe,x"]


@pytest.mark.slow
def test_parquet_keeps_types(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="parquet needs pyarrow")
    frame = pd.DataFrame({"x": [1.5, None], "c": ["a", "b"]}, index=[4, 7])
    frame.to_parquet(tmp_path / "t.parquet")
    read = read_table(tmp_path / "t.parquet")
    assert read["x"].dtype == float
    assert read["c"].tolist() == ["a", "b"]
    assert list(read.index) == [0, 1]
    with pytest.raises(ValueError, match="cannot be read as parquet"):
        read_table(written(tmp_path, "no", "bad.parquet"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "is empty: expected a header"),
        ("t.csv", b"\n \n", "is empty: expected a header"),
        ("t.csv", b"a,b\n", "has a header and no rows"),
        ("t.csv", "a,b\n1,ä\n".encode("cp1252"), "is not utf-8 text: byte 0xe4 in line 2. Save it .*encoding='cp1252'"),
        ("t.csv", b"a,b\n1,2\n1,2,3\n", "cells separated by ',': .*Expected 2 fields in line 3, saw 3. Quote"),
        ("t.csv", b"a,,c\n1,2,3\n", r"no name for column\(s\) \[2\]"),
        ("t.xls", b"a,b\n1,2\n", "is not one of .csv, .tsv, .txt, .parquet"),
    ],
)
def test_invalid_files_raise(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_table(written(tmp_path, content, name))


def test_missing_file_and_unknown_encoding_raise(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no table"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="unknown encoding: klingon"):
        read_table(written(tmp_path, "a\n1\n"), encoding="klingon")
