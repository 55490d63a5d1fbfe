"""Subgroups of the test cases, compared on the classes that all of them have.

A metric over all classes that a subgroup happens to have is of another task in each. The subgroups of a property are
therefore compared on the classes of which each has :data:`LEAST` cases, and a subgroup takes part if two classes have
as many.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmfusion.comparison.analysis.judged import Judged
from mmfusion.data.schema.subgroups import UNKNOWN

LEAST = 10
"""Cases of a class that every subgroup has, so that it is compared on it."""

Rows = dict[tuple[str, str], NDArray[np.intp]]


@dataclass(frozen=True)
class Shared:
    """The subgroups of a property that are compared, and the classes.

    Attributes:
        values: Of the property; empty if fewer than two subgroups have two classes in common.
        classes: Indices of the classes of which each subgroup has enough cases.
    """

    values: tuple[str, ...]
    classes: tuple[int, ...]


def subgroup_rows(judged: Judged) -> Rows:
    """Rows of the test cases by property and value; cases whose value is unknown are in none."""
    if judged.run.subgroups is None:
        return {}
    order = np.argsort(judged.run.test.ids, kind="stable")
    rows = {}
    for by, values in judged.run.subgroups.items():
        ordered = values[order]
        for value in sorted(set(ordered.tolist()) - {""}, key=_in_order):
            rows[by, value] = np.flatnonzero(ordered == value)
    return rows


def _in_order(value: str) -> tuple[int, str]:
    """The lowest band first, unknown values last."""
    return (0 if value.startswith("below") else 2 if value == UNKNOWN else 1), value


def shared(judged: Sequence[Judged]) -> dict[str, Shared]:
    """What is compared, by property: of all test sets together.

    Args:
        judged: Runs of the same classes; those of one test set may differ in whether they stored subgroups.
    """
    counts: dict[str, dict[str, list[NDArray[np.intp]]]] = {}
    stored = {run.test_set: run for run in judged if run.run.subgroups is not None}
    for run in stored.values():
        for (by, value), rows in subgroup_rows(run).items():
            of_class = np.bincount(run.cases.labels[rows], minlength=len(run.run.classes))
            counts.setdefault(by, {}).setdefault(value, []).append(of_class)
    return {by: _shared(of_value) for by, of_value in counts.items()}


def _shared(of_value: Mapping[str, Sequence[NDArray[np.intp]]]) -> Shared:
    enough = {value: np.sum(counts, axis=0) >= LEAST for value, counts in of_value.items() if value != UNKNOWN}
    values = tuple(value for value, classes in enough.items() if classes.sum() >= 2)
    classes = np.flatnonzero(np.all([enough[value] for value in values], axis=0)) if values else np.empty(0)
    if len(values) < 2 or len(classes) < 2:
        return Shared((), ())
    return Shared(values, tuple(int(c) for c in classes))


def shared_rows(judged: Judged, of_property: Mapping[str, Shared]) -> Rows:
    """Rows of the compared subgroups, of the shared classes alone.

    A test set, of a fold, in which a subgroup lacks one of the classes, has no row of it.
    """
    out = {}
    for (by, value), rows in subgroup_rows(judged).items():
        common = of_property[by]
        kept = rows[np.isin(judged.cases.labels[rows], common.classes)]
        if value in common.values and len(set(judged.cases.labels[kept].tolist())) == len(common.classes):
            out[by, value] = kept
    return out
