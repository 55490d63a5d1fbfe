"""Splits for cross-validation: every case is in the test set of one fold."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.splits.deal import deal
from mmfusion.data.splits.split import Split
from mmfusion.option_checks import checked
from mmfusion.options import Count, Folds, Share


@checked
def kfold(
    labels: Sequence[int] | NDArray[np.int64],
    groups: Sequence[str] | None = None,
    *,
    folds: Folds = 5,
    validation: Share = 0.125,
    seed: int = 0,
) -> list[Split]:
    """Stratified folds of whole groups, each with a validation set.

    Every case is in the test set of exactly one fold; of the other cases of a fold, the share ``validation`` is its
    validation set, stratified and by whole groups, too.

    Args:
        labels: Class of each case, shape ``(n,)``.
        groups: Patient or lesion of each case; None: each case is its own group.
        folds: Number of folds, at least 2.
        validation: Share of the cases outside the test set, above 0 and below 1.
        seed: Order of groups of equal size.

    Returns:
        One split per fold. A class with a group for every fold is in every test set.

    Raises:
        ValueError: If lengths differ, a number is out of range, or there are too few groups.
    """
    codes = np.asarray(labels)
    group_of = np.asarray([str(g) for g in (range(len(codes)) if groups is None else groups)], dtype=object)
    tested = deal(codes, group_of.tolist(), [1 / folds] * folds, seed)
    splits = []
    for fold in range(folds):
        test = np.flatnonzero(tested == fold).astype(np.int64)
        train, validated = held_out(np.flatnonzero(tested != fold), codes, group_of, validation, seed)
        splits.append(Split(train, validated, test))
    return splits


@checked
def repeated_kfold(
    labels: Sequence[int] | NDArray[np.int64],
    groups: Sequence[str] | None = None,
    *,
    folds: Folds = 5,
    repeats: Count = 3,
    validation: Share = 0.125,
    seed: int = 0,
) -> list[list[Split]]:
    """:func:`kfold` several times; repeat r has the seed ``seed + r``.

    Raises:
        ValueError: As :func:`kfold`, or if ``repeats`` is less than 1.
    """
    return [kfold(labels, groups, folds=folds, validation=validation, seed=seed + r) for r in range(repeats)]


def held_out(
    cases: NDArray[np.int64], labels: NDArray[np.int64], groups: NDArray[np.object_], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide some cases in two, stratified and by whole groups; the second gets the share. Both are sorted.

    Args:
        cases: Positions, shape ``(n_some,)``.
        labels: Labels of all cases, shape ``(n,)``.
        groups: Groups of all cases, shape ``(n,)``.
        share: Above 0 and below 1.
        seed: Order of groups of equal size.

    Raises:
        ValueError: If the cases are of a single group.
    """
    set_of = deal(labels[cases], groups[cases].tolist(), (1 - share, share), seed)
    return cases[set_of == 0].astype(np.int64), cases[set_of == 1].astype(np.int64)
