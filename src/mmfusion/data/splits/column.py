"""Splits that the data's owners made: a column says which cases are tested."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.splits.folds import held_out
from mmfusion.data.splits.split import Split, check_split


def split_from_column(
    values: Sequence[object],
    labels: Sequence[int] | NDArray[np.int64],
    groups: Sequence[str] | None = None,
    *,
    test: object,
    validation: object = None,
    share: float = 0.125,
    seed: int = 0,
) -> Split:
    """Test part, and validation part where it is named, by a column's values.

    Args:
        values: The column's cells, shape ``(n,)``: names of parts, or numbers of folds. Compared as text.
        labels: Class of each case, shape ``(n,)``.
        groups: Patient or lesion of each case; None: each case is its own.
        test: The value, or several, of cases that are tested.
        validation: Likewise for validation; None: ``share`` of the other cases, stratified and by whole groups.
        share: Of the cases that are not tested, above 0 and below 1.
        seed: Decides the order of equal groups.

    Returns:
        The split, checked; all other values are training.

    Raises:
        ValueError: If the lengths differ, no case has a value that is named, or a group is in two parts.
    """
    codes = np.asarray(labels)
    owners = np.asarray([str(g) for g in (range(len(codes)) if groups is None else groups)], dtype=object)
    cells = np.asarray([str(value) for value in values], dtype=object)
    if not len(cells) == len(owners) == len(codes):
        raise ValueError(f"expected as many values and groups as labels, got {len(cells)}, {len(owners)}, {len(codes)}")
    if not 0 < share < 1:
        raise ValueError(f"share expects a number above 0 and below 1, got {share!r}")
    tested = _named(cells, test, "test")
    if validation is None:
        train, held = held_out(np.flatnonzero(~tested), codes, owners, share, seed)
    else:
        chosen = _named(cells, validation, "validation")
        train, held = np.flatnonzero(~tested & ~chosen), np.flatnonzero(chosen)
    split = Split(train.astype(np.int64), held.astype(np.int64), np.flatnonzero(tested).astype(np.int64))
    check_split(split, owners.tolist(), len(codes))
    return split


def _named(cells: NDArray[np.object_], named: object, part: str) -> NDArray[np.bool_]:
    """Which cases have one of the values."""
    several = named if isinstance(named, list | tuple | set | frozenset) else (named,)
    absent = sorted(str(value) for value in several if not (cells == str(value)).any())
    if absent or not several:
        there = ", ".join(sorted(set(cells.tolist())))
        raise ValueError(f"the {part} part is that of {absent or 'no value'}, which no case has; there are: {there}")
    return np.isin(cells.astype(str), [str(value) for value in several])
