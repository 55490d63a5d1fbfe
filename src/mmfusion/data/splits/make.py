"""The split of a dataset by its options: a seed, folds or a file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.splits.deal import grouped_stratified_split
from mmfusion.data.splits.folds import kfold
from mmfusion.data.splits.split import Split, check_split
from mmfusion.data.splits.split_files import load_split
from mmfusion.option_checks import checked
from mmfusion.options import Fold, Folds, Fractions


@checked
def make_split(
    labels: Sequence[int] | NDArray[np.int64],
    groups: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
    *,
    fractions: Fractions = (0.7, 0.1, 0.2),
    seed: int = 0,
    folds: Folds | None = None,
    fold: Fold | None = None,
    file: Path | str | None = None,
) -> Split:
    """The split that a dataset's options describe.

    Args:
        labels: Class of each case, shape ``(n,)``.
        groups: Patient or lesion of each case; None: each case is its own group.
        ids: Name of each case, as in a split file; None: positions.
        fractions: Shares of training, validation and test set. With folds the test set is ``1 / folds``, and the rest
            is divided in the ratio of the first two fractions.
        seed: Order of groups of equal size; with folds, another seed is another repeat.
        folds: Number of folds; None: one split.
        fold: Index of the fold, from 0; only with folds or a file of folds. None with folds: the first.
        file: A file of :func:`~mmfusion.data.splits.split_files.save_split` or ``save_folds``, or a run's
            ``splits.csv``; ``fractions`` and ``seed`` are not used then.

    Returns:
        The split, checked.

    Raises:
        ValueError: If the options contradict each other, or as :func:`~mmfusion.data.splits.folds.kfold`,
            :func:`~mmfusion.data.splits.deal.grouped_stratified_split` and
            :func:`~mmfusion.data.splits.split_files.load_split`.
        FileNotFoundError: If the file does not exist.
    """
    n = len(labels)
    group_of = [str(group) for group in (range(n) if groups is None else groups)]
    names = [str(name) for name in (range(n) if ids is None else ids)]
    if file is not None and folds is not None:
        raise ValueError(
            f"a split is either read from a file or made of folds, got both: file={str(file)!r} and folds={folds}"
        )
    if fold is not None and folds is None and file is None:
        raise ValueError(f"fold={fold} needs the number of folds: give folds")
    if file is not None:
        return load_split(file, names, group_of, fold)
    if folds is None:
        split = grouped_stratified_split(labels, group_of, fractions=fractions, seed=seed)
    else:
        index = fold or 0
        if index >= folds:
            raise ValueError(f"fold expects a whole number from 0 to {folds - 1}, got {fold!r}")
        share = fractions[1] / (fractions[0] + fractions[1])
        split = kfold(labels, group_of, folds=folds, validation=share, seed=seed)[index]
    check_split(split, group_of, n)
    return split
