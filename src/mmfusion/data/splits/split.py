"""What a split is, and when it is refused."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
PARTS = ("train", "validation", "test")


class Split(NamedTuple):
    """Positions of the cases of each part, sorted, shape ``(n_part,)`` int64."""

    train: Indices
    validation: Indices
    test: Indices


def check_split(split: Split, groups: Sequence[str], n: int | None = None) -> None:
    """Refuse parts that share a case or a group, or that are empty.

    Raises:
        ValueError: Naming the parts and a group that both have.
    """
    seen: dict[str, str] = {}
    total = 0
    for name, indices in zip(PARTS, split):
        if not len(indices):
            raise ValueError(f"the {name} part of the split is empty")
        total += len(indices)
        for group in {str(groups[i]) for i in indices.tolist()}:
            if group in seen:
                raise ValueError(
                    f"group {group!r} is in the {seen[group]} part and in the {name} part: a patient or lesion must be "
                    "in one part only, else the result measures memory"
                )
            seen[group] = name
    if len(np.unique(np.concatenate(split))) != total or (n is not None and total != n):
        raise ValueError(f"a split must have each case once, this one has {total} entries" + (f" of {n}" if n else ""))


def check_folds(folds: Sequence[Split], groups: Sequence[str]) -> None:
    """Refuse folds whose test parts are not the cases, each once, or one of which is no split of all cases.

    Raises:
        ValueError: Naming the fold.
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
            f"the test parts of folds must have each case once, but {int((times != 1).sum())} of {n} are there "
            f"another number of times, case {int(np.flatnonzero(times != 1)[0])} first"
        )
