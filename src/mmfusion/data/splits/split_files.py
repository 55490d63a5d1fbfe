"""Splits on disk: which case is in which part, by name."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mmfusion.data.splits.split import PARTS, Split, check_folds, check_split
from mmfusion.utils.files import replace_file


def save_split(split: Split, ids: Sequence[str], path: Path | str) -> None:
    """Write a split as CSV: columns id and part, in the order of the cases."""
    part = np.full(len(ids), "", dtype=object)
    for name, indices in zip(PARTS, split):
        part[indices] = name
    _write(pd.DataFrame({"id": list(ids), "part": part}).query("part != ''"), path)


def save_folds(folds: Sequence[Split], ids: Sequence[str], path: Path | str) -> None:
    """Write folds as CSV: columns id, fold and part, a row for each case in each fold.

    Raises:
        ValueError: If a case is not in each fold once, or not in one test part.
    """
    check_folds(folds, ids)
    part = np.empty((len(folds), len(ids)), dtype=object)
    for fold, split in enumerate(folds):
        for name, indices in zip(PARTS, split):
            part[fold, indices] = name
    columns = {"id": list(ids) * len(folds), "fold": np.repeat(np.arange(len(folds)), len(ids)), "part": part.ravel()}
    _write(pd.DataFrame(columns), path)


def _write(frame: pd.DataFrame, path: Path | str) -> None:
    replace_file(Path(path), frame.to_csv(index=False, lineterminator=os.linesep).encode())


def load_split(path: Path | str, ids: Sequence[str], groups: Sequence[str], fold: int | None = None) -> Split:
    """Read what :func:`save_split` or :func:`save_folds` wrote, or the ``splits.csv`` of a run.

    Args:
        path: The CSV file.
        ids: Names of the cases that the positions are to point at.
        groups: Their patients or lesions.
        fold: Which, of a file of folds.

    Returns:
        The split, checked.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If it is no table, a column or a case is missing, a part is unknown, a case is named twice, a group
            is in two parts, or it is a file of folds and none of them is asked for, or the other way about.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"the split file {path} is not there")
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as a CSV table: {error}") from error
    if not {"id", "part"} <= set(frame.columns):
        raise ValueError(f"{path} expects the columns id and part, it has {list(frame.columns)}")
    if ("fold" in frame.columns) != (fold is not None):
        have = f"is of folds: say which, fold=0 to {frame['fold'].nunique() - 1}" if fold is None else "has no folds"
        raise ValueError(f"{path} {have}")
    if fold is not None:
        there = list(dict.fromkeys(frame["fold"]))
        frame = frame[frame["fold"] == str(fold)]
        if not len(frame):
            raise ValueError(f"{path} has no fold {fold}; it has: {', '.join(there)}")
    unknown = sorted(set(frame["part"]) - set(PARTS))
    if unknown:
        raise ValueError(f"{path} expects the parts {', '.join(PARTS)}, it has {unknown}")
    position = {name: i for i, name in enumerate(ids)}
    strangers = [name for name in frame["id"] if name not in position]
    if strangers:
        raise ValueError(
            f"{path} names {len(strangers)} case(s) that the data do not have, the first is {strangers[0]!r}"
        )
    if repeated := frame.loc[frame["id"].duplicated(), "id"].tolist():
        raise ValueError(f"{path} names {len(repeated)} case(s) more than once, the first is {repeated[0]!r}")
    split = Split(
        *(
            np.array(sorted(position[i] for i in frame.loc[frame["part"] == part, "id"]), dtype=np.int64)
            for part in PARTS
        )
    )
    check_split(split, groups)
    return split
