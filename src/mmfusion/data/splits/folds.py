"""Cross-validation: every case is tested once."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.splits.deal import deal
from mmfusion.data.splits.split import Split


def kfold(
    labels: Sequence[int] | NDArray[np.int64],
    groups: Sequence[str] | None = None,
    *,
    folds: int = 5,
    validation: float = 0.125,
    seed: int = 0,
) -> list[Split]:
    """Stratified folds of whole groups, each with a validation part of its own.

    The groups are dealt out to ``folds`` test parts, which have no case in common and all cases together; of what is no
    test part of a fold, ``validation`` is dealt to validation in the same way.

    Args:
        labels: Class of each case, shape ``(n,)``.
        groups: Patient or lesion of each case; None: each case is its own.
        folds: How many, at least 2.
        validation: Share of the cases outside the test part, above 0 and below 1.
        seed: Decides the order of equal groups.

    Returns:
        The folds. A class is in every test part where it has a group for each.

    Raises:
        ValueError: If the lengths differ, a number is out of its range, or there are too few groups.
    """
    if type(folds) is not int or folds < 2:
        raise ValueError(f"folds expects a whole number of at least 2, got {folds!r}")
    if not 0 < validation < 1:
        raise ValueError(f"validation expects a share above 0 and below 1, got {validation!r}")
    codes = np.asarray(labels)
    owners = np.asarray([str(g) for g in (range(len(codes)) if groups is None else groups)], dtype=object)
    tested = deal(codes, owners.tolist(), [1 / folds] * folds, seed)
    found = []
    for fold in range(folds):
        test = np.flatnonzero(tested == fold).astype(np.int64)
        train, held = held_out(np.flatnonzero(tested != fold), codes, owners, validation, seed)
        found.append(Split(train, held, test))
    return found


def repeated_kfold(
    labels: Sequence[int] | NDArray[np.int64],
    groups: Sequence[str] | None = None,
    *,
    folds: int = 5,
    repeats: int = 3,
    validation: float = 0.125,
    seed: int = 0,
) -> list[list[Split]]:
    """:func:`kfold` several times; repeat r is that of ``seed + r``.

    Raises:
        ValueError: As there, or if ``repeats`` is not at least 1.
    """
    if type(repeats) is not int or repeats < 1:
        raise ValueError(f"repeats expects a whole number of at least 1, got {repeats!r}")
    return [kfold(labels, groups, folds=folds, validation=validation, seed=seed + r) for r in range(repeats)]


def held_out(
    cases: NDArray[np.int64], labels: NDArray[np.int64], groups: NDArray[np.object_], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Some cases in two parts, the second with that share of them, stratified and by whole groups; both sorted.

    Args:
        cases: Positions, shape ``(n_some,)``.
        labels: Of all cases, shape ``(n,)``.
        groups: Of all cases, shape ``(n,)``.
        share: Above 0 and below 1.
        seed: Decides the order of equal groups.

    Raises:
        ValueError: If the cases are of a single group.
    """
    part = deal(labels[cases], groups[cases].tolist(), (1 - share, share), seed)
    return cases[part == 0].astype(np.int64), cases[part == 1].astype(np.int64)
