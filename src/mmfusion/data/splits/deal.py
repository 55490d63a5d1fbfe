"""Deals whole groups out, keeping each class's share."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.splits.split import Indices, Split


def grouped_stratified_split(
    labels: Sequence[int] | NDArray[np.int64],
    groups: Sequence[str],
    *,
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    seed: int = 0,
) -> Split:
    """Deal whole groups out to three parts, keeping each class's share.

    The largest groups are dealt first, ties in random order, each to the part that lacks most of the group's own
    classes; rare classes weigh more, since what they lack is measured against what they should have.

    Args:
        labels: Class of each case, shape ``(n,)``.
        groups: Patient or lesion of each case.
        fractions: Share of each part; positive, summing to 1.
        seed: Decides the order of equal groups.

    Returns:
        The three parts. Every class is in every part where it has three groups or more; groups of several classes can
        make that impossible.

    Raises:
        ValueError: If the lengths differ, the fractions are not shares, or there are fewer than three groups.
    """
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"expected three positive fractions (train, validation, test) that sum to 1, got {fractions}")
    part = deal(labels, groups, fractions, seed)
    return Split(*(np.flatnonzero(part == i).astype(np.int64) for i in range(3)))


def stratified_split(
    labels: Sequence[int] | NDArray[np.int64],
    *,
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    seed: int = 0,
) -> Split:
    """As :func:`grouped_stratified_split`, where each case is its own patient."""
    return grouped_stratified_split(labels, [str(case) for case in range(len(labels))], fractions=fractions, seed=seed)


def deal(
    labels: Sequence[int] | NDArray[np.int64], groups: Sequence[str], fractions: Sequence[float], seed: int
) -> Indices:
    """The part of each case, shape ``(n,)``, for any number of parts.

    Raises:
        ValueError: If the lengths differ, or there are fewer groups than parts.
    """
    classes, codes = np.unique(np.asarray(labels), return_inverse=True)
    named, owner = np.unique(np.asarray([str(group) for group in groups], dtype=object), return_inverse=True)
    if len(codes) != len(owner):
        raise ValueError(f"expected a group for each of the {len(codes)} labels, got {len(owner)} groups")
    if len(named) < len(fractions):
        raise ValueError(
            f"{len(fractions)} parts need at least as many groups (patients, lesions), got {len(named)}: "
            "a group is never divided"
        )
    # Cases of each class in each group, and what each part should get: both (.., n_classes).
    content = np.zeros((len(named), len(classes)))
    np.add.at(content, (owner, codes), 1)
    wanted = np.outer(fractions, content.sum(axis=0))
    part: Indices = _deal(content, wanted, np.random.default_rng(seed))[owner]
    return part


def _deal(content: NDArray[np.float64], wanted: NDArray[np.float64], rng: np.random.Generator) -> Indices:
    """The part of each group, shape ``(n_groups,)``."""
    totals = content.sum(axis=0)
    n_groups = (content > 0).sum(axis=0)
    order = rng.permutation(len(content))
    # Groups of the rarest class first, while there is room everywhere; large ones before small ones, which fill up.
    rarest = np.where(content > 0, n_groups[None, :], np.inf).min(axis=1)
    order = order[np.lexsort((-content[order].sum(axis=1), rarest[order]))]
    lacking = wanted.copy()
    has = np.zeros(wanted.shape, dtype=bool)
    left = n_groups.copy()
    part_of = np.zeros(len(content), dtype=np.int64)
    for group in order:
        there = content[group] > 0
        # Fraction of a class's due that is still lacking, weighted by what the group brings of it.
        need = ((lacking / wanted) * (content[group] / totals)).sum(axis=1)
        # As many groups left as there are parts without the class: each must go to one of those.
        empty = ~has & there
        urgent = (empty & (left <= (~has).sum(axis=0))).any(axis=1)
        if urgent.any():
            need = np.where(urgent, need, -np.inf)
        best = int(np.argmax(need))
        part_of[group] = best
        lacking[best] -= content[group]
        has[best] |= there
        left -= there
    # With few groups a small part may have been left without any.
    for part in range(len(wanted)):
        if not (part_of == part).any():
            crowded = int(np.bincount(part_of, minlength=len(wanted)).argmax())
            members = np.flatnonzero(part_of == crowded)
            part_of[members[content[members].sum(axis=1).argmin()]] = part
    return _mended(part_of, content > 0, len(wanted))


def _mended(part_of: Indices, there: NDArray[np.bool_], n_parts: int) -> Indices:
    """Groups moved or exchanged until each class with a group for every part is in every part, or none helps.

    Args:
        part_of: The part of each group, shape ``(n_groups,)``.
        there: Whether a group has a class, shape ``(n_groups, n_classes)``.
        n_parts: How many parts.
    """
    possible = there.sum(axis=0) >= n_parts

    def gaps(parts: Indices) -> NDArray[np.bool_]:
        """Which part lacks which class that it could have, shape ``(n_parts, n_classes)``."""
        held = np.zeros((n_parts, there.shape[1]), dtype=bool)
        np.logical_or.at(held, parts, there)
        lacks: NDArray[np.bool_] = ~held & possible
        return lacks

    lacking = gaps(part_of)
    while lacking.any():
        trials = []
        for part, code in np.argwhere(lacking):
            for group in np.flatnonzero(there[:, code]):
                # Moved there; and in exchange for each group that is there.
                for other in (group, *np.flatnonzero(part_of == part)):
                    trial = part_of.copy()
                    trial[other], trial[group] = part_of[group], part
                    if len(np.unique(trial)) == n_parts:
                        trials.append((int(gaps(trial).sum()), trial))
        fewest, best = min(trials, key=lambda trial: trial[0], default=(int(lacking.sum()), part_of))
        if fewest >= lacking.sum():
            break
        part_of, lacking = best, gaps(best)
    return part_of
