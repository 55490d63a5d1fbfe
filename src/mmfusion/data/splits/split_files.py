"""Split files: the set of each case by its name, as CSV."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mmfusion.data.splits.split import SETS, Split, check_folds, check_split
from mmfusion.data.whole_files import replace_file


def save_split(split: Split, ids: Sequence[str], path: Path | str) -> None:
    """Write a split as CSV: columns id and part, in the order of the cases."""
    set_of = np.full(len(ids), "", dtype=object)
    for name, indices in zip(SETS, split):
        set_of[indices] = name
    _write(pd.DataFrame({"id": list(ids), "part": set_of}).query("part != ''"), path)


def save_folds(folds: Sequence[Split], ids: Sequence[str], path: Path | str) -> None:
    """Write folds as CSV: columns id, fold and part, one row per case and fold.

    Raises:
        ValueError: If a case is not in each fold once, or not in the test set of exactly one fold.
    """
    check_folds(folds, ids)
    set_of = np.empty((len(folds), len(ids)), dtype=object)
    for fold, split in enumerate(folds):
        for name, indices in zip(SETS, split):
            set_of[fold, indices] = name
    columns = {"id": list(ids) * len(folds), "fold": np.repeat(np.arange(len(folds)), len(ids)), "part": set_of.ravel()}
    _write(pd.DataFrame(columns), path)


def _write(frame: pd.DataFrame, path: Path | str) -> None:
    replace_file(Path(path), frame.to_csv(index=False, lineterminator=os.linesep).encode())


def load_split(path: Path | str, ids: Sequence[str], groups: Sequence[str], fold: int | None = None) -> Split:
    """Read a file of :func:`save_split` or :func:`save_folds`, or the ``splits.csv`` of a run.

    Args:
        path: The CSV file.
        ids: Names of the dataset's cases; positions refer to them.
        groups: Patient or lesion of each case.
        fold: Index of the fold, for a file of folds.

    Returns:
        The split, checked.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not a CSV table, a column or a case is missing, a set or a case is unknown, a case occurs
            twice, a group is in two sets, or ``fold`` is given for a file without folds or missing for one of folds.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"the split file {path} does not exist")
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as a CSV table: {error}") from error
    if not {"id", "part"} <= set(frame.columns):
        raise ValueError(f"{path} expects the columns id and part, got {list(frame.columns)}")
    if ("fold" in frame.columns) != (fold is not None):
        problem = (
            f"has folds: give one, fold=0 to {frame['fold'].nunique() - 1}"
            if fold is None
            else "has no folds: omit fold"
        )
        raise ValueError(f"{path} {problem}")
    if fold is not None:
        available = list(dict.fromkeys(frame["fold"]))
        frame = frame[frame["fold"] == str(fold)]
        if not len(frame):
            raise ValueError(f"{path} has no fold {fold}; it has: {', '.join(available)}")
    # Of a run: cases that it took out of its training set.
    frame = frame.assign(part=frame["part"].replace("calibration", "train"))
    unknown = sorted(set(frame["part"]) - set(SETS))
    if unknown:
        raise ValueError(f"{path} expects the sets {', '.join(SETS)} in column part, got {unknown}")
    position = {name: i for i, name in enumerate(ids)}
    unknown_ids = [name for name in frame["id"] if name not in position]
    if unknown_ids:
        raise ValueError(
            f"{path} has {len(unknown_ids)} case(s) that the data do not have, the first is {unknown_ids[0]!r}"
        )
    if repeated := frame.loc[frame["id"].duplicated(), "id"].tolist():
        raise ValueError(f"{path} has {len(repeated)} case(s) more than once, the first is {repeated[0]!r}")
    split = Split(
        *(
            np.array(sorted(position[i] for i in frame.loc[frame["part"] == set_name, "id"]), dtype=np.int64)
            for set_name in SETS
        )
    )
    check_split(split, groups)
    return split
