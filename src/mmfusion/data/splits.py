"""Training, validation and test parts that share no patient and have the same mix of classes."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Indices = NDArray[np.int64]
PARTS = ("train", "validation", "test")


class Split(NamedTuple):
    """Positions of the cases of each part, sorted, shape ``(n_part,)`` int64."""

    train: Indices
    validation: Indices
    test: Indices


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
        The three parts. Every class is in every part where it has three groups or more.

    Raises:
        ValueError: If the lengths differ, the fractions are not shares, or there are fewer than three groups.
    """
    classes, codes = np.unique(np.asarray(labels), return_inverse=True)
    named, owner = np.unique(np.asarray([str(group) for group in groups], dtype=object), return_inverse=True)
    if len(codes) != len(owner):
        raise ValueError(f"expected a group for each of the {len(codes)} labels, got {len(owner)} groups")
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"expected three positive fractions (train, validation, test) that sum to 1, got {fractions}")
    if len(named) < 3:
        raise ValueError(f"three parts need at least three groups (patients, lesions), got {len(named)}")

    # Cases of each class in each group, and what each part should get: both (.., n_classes).
    content = np.zeros((len(named), len(classes)))
    np.add.at(content, (owner, codes), 1)
    wanted = np.outer(fractions, content.sum(axis=0))
    part_of = _deal(content, wanted, np.random.default_rng(seed))
    part = part_of[owner]
    return Split(*(np.flatnonzero(part == i).astype(np.int64) for i in range(3)))


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
    for part in range(3):
        if not (part_of == part).any():
            crowded = int(np.bincount(part_of, minlength=3).argmax())
            members = np.flatnonzero(part_of == crowded)
            part_of[members[content[members].sum(axis=1).argmin()]] = part
    return part_of


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


def save_split(split: Split, ids: Sequence[str], path: Path | str) -> None:
    """Write a split as CSV: columns id and part, in the order of the cases."""
    part = np.full(len(ids), "", dtype=object)
    for name, indices in zip(PARTS, split):
        part[indices] = name
    pd.DataFrame({"id": list(ids), "part": part}).query("part != ''").to_csv(path, index=False)


def load_split(path: Path | str, ids: Sequence[str], groups: Sequence[str]) -> Split:
    """Read what :func:`save_split` wrote.

    Args:
        path: The CSV file.
        ids: Names of the cases that the positions are to point at.
        groups: Their patients or lesions.

    Returns:
        The split, checked.

    Raises:
        ValueError: If a column or a case is missing, a part is unknown, or a group is in two parts.
    """
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    if not {"id", "part"} <= set(frame.columns):
        raise ValueError(f"{path} expects the columns id and part, it has {list(frame.columns)}")
    unknown = sorted(set(frame["part"]) - set(PARTS))
    if unknown:
        raise ValueError(f"{path} expects the parts {', '.join(PARTS)}, it has {unknown}")
    position = {name: i for i, name in enumerate(ids)}
    strangers = [name for name in frame["id"] if name not in position]
    if strangers:
        raise ValueError(
            f"{path} names {len(strangers)} case(s) that the data do not have, the first is {strangers[0]!r}"
        )
    split = Split(
        *(
            np.array(sorted(position[i] for i in frame.loc[frame["part"] == part, "id"]), dtype=np.int64)
            for part in PARTS
        )
    )
    check_split(split, groups)
    return split
