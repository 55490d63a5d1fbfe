"""One way for every dataset to be split: by a seed, into folds, or as a file says."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.splits.deal import grouped_stratified_split
from mmfusion.data.splits.folds import kfold
from mmfusion.data.splits.split import Split, check_split
from mmfusion.data.splits.split_files import load_split


def make_split(
    labels: Sequence[int] | NDArray[np.int64],
    groups: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
    *,
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    seed: int = 0,
    folds: int | None = None,
    fold: int | None = None,
    file: Path | str | None = None,
) -> Split:
    """The three parts that a dataset's options ask for.

    Args:
        labels: Class of each case, shape ``(n,)``.
        groups: Patient or lesion of each case; None: each case is its own.
        ids: Name of each case, by which a file names them; None: their positions.
        fractions: Shares of training, validation and test part. With folds the test part is ``1 / folds``, and
            validation has of the rest what it has of training and validation here.
        seed: Decides the order of equal groups; with folds, another seed is another repeat.
        folds: How many folds; None: one split.
        fold: Which of them, from 0; with folds, or a file of folds. None with folds: the first.
        file: What :func:`~mmfusion.data.splits.split_files.save_split` or ``save_folds`` wrote, or a run's
            ``splits.csv``: the split is read, and ``fractions`` and ``seed`` decide nothing.

    Returns:
        The split, checked.

    Raises:
        ValueError: If the options contradict each other, or as :func:`~mmfusion.data.splits.folds.kfold`,
            :func:`~mmfusion.data.splits.deal.grouped_stratified_split` and
            :func:`~mmfusion.data.splits.split_files.load_split`.
        FileNotFoundError: If the file is not there.
    """
    n = len(labels)
    owners = [str(group) for group in (range(n) if groups is None else groups)]
    names = [str(name) for name in (range(n) if ids is None else ids)]
    if file is not None and folds is not None:
        raise ValueError(f"a split is read from a file, or made of folds: got file={str(file)!r} and folds={folds}")
    if fold is not None and folds is None and file is None:
        raise ValueError(f"fold={fold} needs to know of how many: give folds")
    if file is not None:
        return load_split(file, names, owners, fold)
    if folds is None:
        split = grouped_stratified_split(labels, owners, fractions=fractions, seed=seed)
    else:
        chosen = fold or 0
        if type(chosen) is not int or not 0 <= chosen < folds:
            raise ValueError(f"fold expects a whole number from 0 to {folds - 1}, got {fold!r}")
        if len(fractions) != 3 or min(fractions) <= 0:
            raise ValueError(f"expected three positive fractions (train, validation, test), got {fractions}")
        share = fractions[1] / (fractions[0] + fractions[1])
        split = kfold(labels, owners, folds=folds, validation=share, seed=seed)[chosen]
    check_split(split, owners, n)
    return split
