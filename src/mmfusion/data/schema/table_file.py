"""Reading of table files, with cells as texts."""

import io
from pathlib import Path

import pandas as pd

from mmfusion.data.schema.spreadsheet_file import read_spreadsheet
from mmfusion.utils.optional import need

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".xlsx")


def read_table(
    path: Path | str, *, separator: str | None = None, encoding: str | None = None, sheet: str | None = None
) -> pd.DataFrame:
    """Read a table.

    Types are not guessed: cells of a text file are texts, empty ones are empty, and the schema decides on ``None`` and
    ``NA``. A parquet file and a spreadsheet keep their types.

    Args:
        path: ``.csv``, ``.tsv``, ``.txt``, ``.parquet`` (which needs pyarrow) or ``.xlsx`` (openpyxl).
        separator: Separator of the cells; None: the most frequent of comma, semicolon, tab and bar in the header.
        encoding: Encoding of a text file; None: UTF-8, or UTF-16 if the file has its byte order mark.
        sheet: Name of a spreadsheet's sheet; None: the only one that has cells.

    Returns:
        The table, with at least one row; its index counts from 0.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it has another suffix, is empty, without rows or not text in that encoding, or a row has more
            cells than the header; or as
            :func:`~mmfusion.data.schema.spreadsheet_file.read_spreadsheet`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no table {path}")
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path} is not one of {', '.join(SUFFIXES)}: save the table as one of these")
    suffix = path.suffix.lower()
    if sheet is not None and suffix != ".xlsx":
        raise ValueError(f"a sheet is given, {sheet!r}, and {path} is no spreadsheet (.xlsx): leave it out")
    if suffix == ".xlsx":
        frame = read_spreadsheet(path, sheet)
    else:
        frame = _parquet(path) if suffix == ".parquet" else _text(path, separator, encoding)
    if not len(frame):
        raise ValueError(f"{path} has a header and no rows: at least one case is needed")
    return frame


def _parquet(path: Path) -> pd.DataFrame:
    need("pyarrow", "parquet")
    try:
        return pd.read_parquet(path).reset_index(drop=True)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as parquet: {error}") from error


def _text(path: Path, separator: str | None, encoding: str | None) -> pd.DataFrame:
    content = path.read_bytes()
    encoding = encoding or ("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path} is not {error.encoding} text: byte 0x{content[error.start]:02x} in line {line}. Save it as UTF-8; "
            "a dataset of a table takes its encoding, too, as in encoding='cp1252'"
        ) from error
    except LookupError as error:
        raise ValueError(f"{path}: {error}; 'utf-8' and 'cp1252' are common encodings") from error
    header = next((line for line in text.splitlines() if line.strip()), "")
    if not header:
        raise ValueError(f"{path} is empty: expected a header with the names of the columns and one row per case")
    separator = separator or max(",;\t|", key=header.count)
    try:
        # The header is read as a row: pandas would rename repeated names, and use an unnamed first column as index.
        cells = pd.read_csv(io.StringIO(text), sep=separator, header=None, dtype=str, na_filter=False)
    except (pd.errors.ParserError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read as cells separated by {separator!r}: {' '.join(str(error).split())}. Quote cells "
            f"that hold {separator!r}, and name every column"
        ) from error
    names = [str(name).strip() for name in cells.iloc[0].fillna("")]
    if not names[0] and all(names[1:]):
        names[0] = "Unnamed: 0"  # an index that was saved with the table
    if unnamed := [place for place, name in enumerate(names, start=1) if not name]:
        raise ValueError(f"{path} has no name for column(s) {unnamed}: name them, or remove them")
    frame = cells.iloc[1:].reset_index(drop=True).fillna("")
    frame.columns = pd.Index(names)
    return frame
