"""A column that says which rows are for training, for validation and for the test."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfusion.data.schema.cells import BOOLEANS, key, texts
from mmfusion.data.splits import SETS, Split, split_from_column

PART_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}


def given_split(
    frame: pd.DataFrame,
    test: str,
    labels: NDArray[np.int64],
    groups: Sequence[str],
    fractions: Sequence[float],
    seed: int,
    fold: int | None,
    folds: int | None,
    split_file: object,
) -> Split:
    """The split that a column of the table says.

    Args:
        frame: The table.
        test: The column: train, test and, if there, validation; or true and false; or, with ``fold``, the number of
            the fold.
        labels: Class of each row, shape ``(n,)``.
        groups: Patient or lesion of each row.
        fractions: Shares of training, validation and test set; the second against the first counts.
        seed: Of the validation set.
        fold: The column's value that is tested; None: it has none.
        folds: Must be None.
        split_file: Must be None.

    Raises:
        ValueError: If the column does not say the set of each row, or other options say the split too.
    """
    if folds is not None or split_file is not None:
        raise ValueError(f"the split is said by the column {test!r}: leave folds and split_file out")
    if len(fractions) != 3 or min(fractions) <= 0:
        raise ValueError(f"expected three positive fractions (train, validation, test), got {fractions}")
    share = fractions[1] / (fractions[0] + fractions[1])
    cells = texts(frame, test)
    empty = [str(row) for row, cell in zip(frame.index, cells) if cell is None]
    if empty:
        raise ValueError(f"column {test!r} does not say the part of row {', '.join(empty[:10])}")
    said = [key(str(cell)) for cell in cells]
    if fold is not None:
        return split_from_column(said, labels, groups, test=str(fold), share=share, seed=seed)
    part_of = {name: part for part in SETS for name in PART_NAMES[part]}
    if set(said) <= set(part_of):
        parts = [part_of[cell] for cell in said]
        held = "validation" if "validation" in parts else None
        return split_from_column(parts, labels, groups, test="test", validation=held, share=share, seed=seed)
    if set(said) <= set(BOOLEANS):
        flags = [str(BOOLEANS[cell]) for cell in said]
        return split_from_column(flags, labels, groups, test="True", share=share, seed=seed)
    there = ", ".join(sorted(set(said))[:10])
    raise ValueError(
        f"column {test!r} expects train, validation and test, or true and false; it has {there}. If these are folds, "
        "say by fold which is tested"
    )
