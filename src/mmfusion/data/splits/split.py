"""Split into training, validation and test set, and its checks."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
SETS = ("train", "validation", "test")


class Split(NamedTuple):
    """Positions of the cases of each set, sorted, shape ``(n_set,)`` int64."""

    train: Indices
    validation: Indices
    test: Indices


def check_split(
    split: Split, groups: Sequence[str], n: int | None = None, *, may_be_empty: Collection[str] = ()
) -> None:
    """Check that no set is empty and that no two sets share a case or a group.

    Args:
        split: The split.
        groups: Patient or lesion of each case.
        n: Number of cases, all of which must be in a set; None: some may be in none.
        may_be_empty: Names of sets that need no case.

    Raises:
        ValueError: If they do; names the sets and the group.
    """
    seen: dict[str, str] = {}
    n_entries = 0
    for name, indices in zip(SETS, split):
        if not len(indices) and name not in may_be_empty:
            raise ValueError(f"the {name} set of the split is empty")
        n_entries += len(indices)
        for group in {str(groups[i]) for i in indices.tolist()}:
            if group in seen:
                raise ValueError(
                    f"group {group!r} is in the {seen[group]} set and in the {name} set: a patient or lesion must be "
                    "in one set only, else results are too optimistic"
                )
            seen[group] = name
    if len(np.unique(np.concatenate(split))) != n_entries or (n is not None and n_entries != n):
        raise ValueError(f"a split must have each case once, got {n_entries} entries" + (f" of {n} cases" if n else ""))


def check_folds(folds: Sequence[Split], groups: Sequence[str]) -> None:
    """Check that every fold is a split of all cases, and that each case is in the test set of one fold.

    Raises:
        ValueError: If not; names the fold or the case.
    """
    n = len(groups)
    for fold, split in enumerate(folds):
        try:
            check_split(split, groups, n)
        except ValueError as error:
            raise ValueError(f"fold {fold}: {error}") from error
    times = np.bincount(np.concatenate([split.test for split in folds]), minlength=n)
    if (times != 1).any():
        raise ValueError(
            f"each case must be in the test set of exactly one fold, but {int((times != 1).sum())} of {n} cases are "
            f"not, case {int(np.flatnonzero(times != 1)[0])} first"
        )
