"""Reading of a dataset's table, with the root of its images."""

from pathlib import Path

import pandas as pd

from mmfusion.data.datasets.faults import Faults, refuse
from mmfusion.data.schema.table_file import read_table


def read_frame(
    table: pd.DataFrame | Path | str,
    root: Path | str | None,
    separator: str | None,
    encoding: str | None,
    sheet: str | None,
    schema: Path | str | None,
    split_file: Path | str | None,
    faults: Faults,
) -> tuple[pd.DataFrame, Path]:
    """The table and the root of its images, which may not exist.

    Args:
        table: A DataFrame, or its file.
        root: The folder of the images; None: that of the table, or the working folder.
        separator: Separator of the cells in a text file; None: inferred.
        encoding: Encoding of a text file; None: UTF-8.
        sheet: Sheet of a spreadsheet; None: the only one.
        schema: Schema file; None: none.
        split_file: Split file; None: none.
        faults: Receives faults of the root.

    Raises:
        OSError: If the table cannot be read; lists other missing files, too.
        ValueError: Likewise.
    """
    home = Path() if isinstance(table, pd.DataFrame) else Path(table).parent
    folder = home if root is None else Path(root)
    if root is not None and not folder.is_dir():
        faults.lacks(f"the root {folder} does not exist, or is not a folder")
    try:
        if isinstance(table, pd.DataFrame):
            frame = table
        else:
            frame = read_table(table, separator=separator, encoding=encoding, sheet=sheet)
        if not len(frame):
            raise ValueError("the table has no rows: at least one case is needed")
        if not all(isinstance(name, str) for name in frame.columns):
            raise ValueError(f"the table expects texts as names of columns, got {list(frame.columns)}")
        if twice := sorted({name for name in frame.columns if list(frame.columns).count(name) > 1}):
            raise ValueError(f"the table has several columns called {twice}: rename or remove all but one of each")
    except (OSError, ValueError) as error:
        # The table cannot be checked any further, but other files may be missing, too.
        for file, what in ((schema, "schema"), (split_file, "split file")):
            if file is not None and not Path(file).is_file():
                faults.lacks(f"the {what} {file} does not exist")
        if not faults:
            raise
        faults.note(error)
        refuse("the table", faults)
    return frame, folder
