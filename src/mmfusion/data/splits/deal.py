"""Stratified split by whole groups."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.splits.split import Indices, Split
from mmfusion.option_checks import checked
from mmfusion.options import Fractions


@checked
def grouped_stratified_split(
    labels: Sequence[int] | NDArray[np.int64],
    groups: Sequence[str],
    *,
    fractions: Fractions = (0.7, 0.1, 0.2),
    seed: int = 0,
) -> Split:
    """Split into training, validation and test set by whole groups, keeping the share of each class.

    The largest groups are assigned first, ties in random order, each to the set that lacks most of the group's
    classes; rare classes weigh more, since what is lacking is relative to what a set should have.

    Args:
        labels: Class of each case, shape ``(n,)``.
        groups: Patient or lesion of each case.
        fractions: Share of each set; positive, with sum 1.
        seed: Order of groups of equal size.

    Returns:
        The split. A class with three groups or more is in every set, unless groups of several classes make that
        impossible.

    Raises:
        ValueError: If lengths differ, fractions are not shares, or there are fewer than three groups.
    """
    if abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"fractions expects three shares (train, validation, test) that sum to 1, got {fractions}")
    set_of = deal(labels, groups, fractions, seed)
    return Split(*(np.flatnonzero(set_of == i).astype(np.int64) for i in range(3)))


def stratified_split(
    labels: Sequence[int] | NDArray[np.int64],
    *,
    fractions: Fractions = (0.7, 0.1, 0.2),
    seed: int = 0,
) -> Split:
    """As :func:`grouped_stratified_split`, with each case as its own group."""
    return grouped_stratified_split(labels, [str(case) for case in range(len(labels))], fractions=fractions, seed=seed)


def deal(
    labels: Sequence[int] | NDArray[np.int64], groups: Sequence[str], fractions: Sequence[float], seed: int
) -> Indices:
    """Assign whole groups to any number of sets; the index of each case's set, shape ``(n,)``.

    Raises:
        ValueError: If lengths differ, or there are fewer groups than sets.
    """
    classes, codes = np.unique(np.asarray(labels), return_inverse=True)
    names, group_of = np.unique(np.asarray([str(group) for group in groups], dtype=object), return_inverse=True)
    if len(codes) != len(group_of):
        raise ValueError(f"expected one group per label, got {len(codes)} labels and {len(group_of)} groups")
    if len(names) < len(fractions):
        raise ValueError(
            f"{len(fractions)} sets need at least as many groups (patients, lesions), got {len(names)}: "
            "a group is never divided"
        )
    # Cases of each class per group, and as they should be per set: both (.., n_classes).
    counts = np.zeros((len(names), len(classes)))
    np.add.at(counts, (group_of, codes), 1)
    targets = np.outer(fractions, counts.sum(axis=0))
    set_of: Indices = _deal(counts, targets, np.random.default_rng(seed))[group_of]
    return set_of


def _deal(counts: NDArray[np.float64], targets: NDArray[np.float64], rng: np.random.Generator) -> Indices:
    """The set of each group, shape ``(n_groups,)``."""
    totals = counts.sum(axis=0)
    n_groups = (counts > 0).sum(axis=0)
    order = rng.permutation(len(counts))
    # Groups of the rarest class first, while all sets have room; large groups before small ones, which fill gaps.
    rarest = np.where(counts > 0, n_groups[None, :], np.inf).min(axis=1)
    order = order[np.lexsort((-counts[order].sum(axis=1), rarest[order]))]
    lacking = targets.copy()
    has = np.zeros(targets.shape, dtype=bool)
    left = n_groups.copy()
    set_of = np.zeros(len(counts), dtype=np.int64)
    for group in order:
        present = counts[group] > 0
        # Share of each class that a set still lacks, weighted by the group's share of the class.
        need = ((lacking / targets) * (counts[group] / totals)).sum(axis=1)
        # No more groups are left than sets without the class: each must go to one of these.
        empty = ~has & present
        urgent = (empty & (left <= (~has).sum(axis=0))).any(axis=1)
        if urgent.any():
            need = np.where(urgent, need, -np.inf)
        best = int(np.argmax(need))
        set_of[group] = best
        lacking[best] -= counts[group]
        has[best] |= present
        left -= present
    # With few groups a small set may be empty.
    for index in range(len(targets)):
        if not (set_of == index).any():
            crowded = int(np.bincount(set_of, minlength=len(targets)).argmax())
            members = np.flatnonzero(set_of == crowded)
            set_of[members[counts[members].sum(axis=1).argmin()]] = index
    return _improve(set_of, counts > 0, len(targets))


def _improve(set_of: Indices, present: NDArray[np.bool_], n_sets: int) -> Indices:
    """Move or exchange groups until every class with enough groups is in every set, as far as possible.

    Args:
        set_of: The set of each group, shape ``(n_groups,)``.
        present: Whether a group has a class, shape ``(n_groups, n_classes)``.
        n_sets: Number of sets.
    """
    possible = present.sum(axis=0) >= n_sets

    def gaps(sets: Indices) -> NDArray[np.bool_]:
        """Whether a set lacks a class that it could have, shape ``(n_sets, n_classes)``."""
        has = np.zeros((n_sets, present.shape[1]), dtype=bool)
        np.logical_or.at(has, sets, present)
        lacks: NDArray[np.bool_] = ~has & possible
        return lacks

    lacking = gaps(set_of)
    while lacking.any():
        trials = []
        for index, code in np.argwhere(lacking):
            for group in np.flatnonzero(present[:, code]):
                # Move the group to the set, or exchange it with a group of the set.
                for other in (group, *np.flatnonzero(set_of == index)):
                    trial = set_of.copy()
                    trial[other], trial[group] = set_of[group], index
                    if len(np.unique(trial)) == n_sets:
                        trials.append((int(gaps(trial).sum()), trial))
        fewest, best = min(trials, key=lambda trial: trial[0], default=(int(lacking.sum()), set_of))
        if fewest >= lacking.sum():
            break
        set_of, lacking = best, gaps(best)
    return set_of
