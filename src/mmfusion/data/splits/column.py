"""Split by a column of the table, as published with the data."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.splits.folds import held_out
from mmfusion.data.splits.split import Split, check_split
from mmfusion.option_checks import checked
from mmfusion.options import Share


@checked
def split_from_column(
    values: Sequence[object],
    labels: Sequence[int] | NDArray[np.int64],
    groups: Sequence[str] | None = None,
    *,
    test: object,
    validation: object = None,
    share: Share = 0.125,
    seed: int = 0,
) -> Split:
    """Test set, and validation set if its values are given, by the values of a column.

    Args:
        values: The column's cells, shape ``(n,)``: names of sets, or numbers of folds. Compared as text.
        labels: Class of each case, shape ``(n,)``.
        groups: Patient or lesion of each case; None: each case is its own group.
        test: The value, or several values, of the test set.
        validation: Likewise for the validation set; None: ``share`` of the other cases, stratified and by whole groups.
        share: Share of the validation set among the cases outside the test set, above 0 and below 1.
        seed: Order of groups of equal size.

    Returns:
        The split, checked; all other values are the training set.

    Raises:
        ValueError: If lengths differ, no case has one of the values, or a group is in two sets.
    """
    codes = np.asarray(labels)
    group_of = np.asarray([str(g) for g in (range(len(codes)) if groups is None else groups)], dtype=object)
    cells = np.asarray([str(value) for value in values], dtype=object)
    if not len(cells) == len(group_of) == len(codes):
        raise ValueError(
            f"expected as many values and groups as labels, got {len(cells)}, {len(group_of)}, {len(codes)}"
        )
    tested = _named(cells, test, "test")
    if validation is None:
        train, validated = held_out(np.flatnonzero(~tested), codes, group_of, share, seed)
    else:
        chosen = _named(cells, validation, "validation")
        train, validated = np.flatnonzero(~tested & ~chosen), np.flatnonzero(chosen)
    split = Split(train.astype(np.int64), validated.astype(np.int64), np.flatnonzero(tested).astype(np.int64))
    check_split(split, group_of.tolist(), len(codes))
    return split


def _named(cells: NDArray[np.object_], named: object, set_name: str) -> NDArray[np.bool_]:
    """Whether each case has one of the values, shape ``(n,)``."""
    several = named if isinstance(named, list | tuple | set | frozenset) else (named,)
    absent = sorted(str(value) for value in several if not (cells == str(value)).any())
    if absent or not several:
        present = ", ".join(sorted(set(cells.tolist())))
        raise ValueError(
            f"no case has the value {absent or '(none is given)'} of the {set_name} set; the column has: {present}"
        )
    return np.isin(cells.astype(str), [str(value) for value in several])
