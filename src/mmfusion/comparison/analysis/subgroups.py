"""Subgroups of the test cases, compared on the classes that all of them have."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mmfusion.comparison.analysis.judged import Judged
from mmfusion.data.schema.subgroups import UNKNOWN, in_order
from mmfusion.metrics.shared_classes import Shared, shared_classes

Rows = dict[tuple[str, str], NDArray[np.intp]]


def subgroup_rows(judged: Judged) -> Rows:
    """Rows of the test cases by property and value; cases whose value is unknown are in none."""
    if judged.run.subgroups is None:
        return {}
    order = np.argsort(judged.run.test.ids, kind="stable")
    rows = {}
    for by, values in judged.run.subgroups.items():
        ordered = values[order]
        for value in sorted(set(ordered.tolist()) - {""}, key=in_order):
            rows[by, value] = np.flatnonzero(ordered == value)
    return rows


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
    return {
        by: shared_classes({value: np.sum(each, axis=0) for value, each in of_value.items()}, [UNKNOWN])
        for by, of_value in counts.items()
    }


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
