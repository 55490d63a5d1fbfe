"""Split by a column of the table that has the set of each row."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfusion.data.schema.cells import BOOLEANS, key, texts
from mmfusion.data.splits import SETS, Split, check_split, split_from_column

SET_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}


def column_split(
    frame: pd.DataFrame,
    test: str,
    labels: NDArray[np.int64],
    groups: Sequence[str],
    *,
    fractions: Sequence[float],
    seed: int,
    fold: int | None,
    folds: int | None,
    file: object,
) -> Split:
    """The split of a column of the table.

    Args:
        frame: The table.
        test: The column, with train, test and optionally validation, or train and validation alone; or true and false;
            or, with ``fold``, the number of the fold.
        labels: Class of each row, shape ``(n,)``.
        groups: Patient or lesion of each row.
        fractions: Shares of training, validation and test set; only the ratio of the first two is used.
        seed: Seed of the validation set.
        fold: The column's value of the test set; None: the column has no folds.
        folds: Must be None.
        file: Must be None.

    Raises:
        ValueError: If the column does not have the set of each row, or other options determine the split, too.
    """
    if folds is not None or file is not None:
        raise ValueError(f"the split is that of column {test!r}: leave folds and split_file out")
    share = fractions[1] / (fractions[0] + fractions[1])
    cells = texts(frame, test)
    empty = [str(row) for row, cell in zip(frame.index, cells) if cell is None]
    if empty:
        raise ValueError(f"column {test!r} has the set of each row, but is empty in row {', '.join(empty[:10])}")
    values = [key(str(cell)) for cell in cells]
    if fold is not None:
        return split_from_column(values, labels, groups, test=str(fold), share=share, seed=seed)
    set_of = {name: name_of_set for name_of_set in SETS for name in SET_NAMES[name_of_set]}
    if set(values) <= set(set_of):
        sets = [set_of[cell] for cell in values]
        validation = "validation" if "validation" in sets else None
        if "test" not in sets and {"train", "validation"} <= set(sets):
            return _without_test(sets, groups)
        return split_from_column(sets, labels, groups, test="test", validation=validation, share=share, seed=seed)
    if set(values) <= set(BOOLEANS):
        flags = [str(BOOLEANS[cell]) for cell in values]
        return split_from_column(flags, labels, groups, test="True", share=share, seed=seed)
    available = ", ".join(sorted(set(values))[:10])
    raise ValueError(
        f"column {test!r} expects train, validation and test, or true and false, got {available}. If these are folds, "
        "choose the test set with fold"
    )


def _without_test(sets: Sequence[str], groups: Sequence[str]) -> Split:
    """Training and validation set alone, for a run that tests nothing."""
    rows = [np.flatnonzero([name == set_name for name in sets]).astype(np.int64) for set_name in SETS]
    split = Split(*rows)
    check_split(split, groups, len(sets), may_be_empty=("test",))
    return split
