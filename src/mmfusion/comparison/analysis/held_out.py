"""Test sets: their identity, and their size beside that of the training set."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from mmfusion.comparison.finished_run import FinishedRun


def test_set_of(run: FinishedRun) -> str:
    """Equal for runs of the same fold whose test cases are the same, with the same labels and groups, in any order."""
    cases = run.test.take(np.argsort(run.test.ids, kind="stable"))
    digest = hashlib.sha256(str(run.fold).encode())
    for values in (cases.ids, cases.groups, cases.labels.astype(str)):
        digest.update("\0".join(values.tolist()).encode() + b"\1")
    return digest.hexdigest()


def sizes(runs: Sequence[FinishedRun]) -> tuple[float, float] | None:
    """Mean cases of a training set and of a test set, for Nadeau and Bengio's correction.

    Args:
        runs: Of one dataset, any methods.

    Returns:
        Training and test cases. Where no run recorded its training cases, their number follows from the test sets if
        these do not overlap and together are the dataset, as those of folds are; else None.
    """
    n_test = float(np.mean([len(run.test) for run in runs]))
    known = [run.n_train for run in runs if run.n_train]
    if known:
        return float(np.mean(known)), n_test
    by_test_set = {test_set_of(run): set(run.test.ids.tolist()) for run in runs}
    held_out = [n for run in runs if (n := n_validation(run)) is not None]
    all_ids = set().union(*by_test_set.values())
    if len(by_test_set) < 2 or not held_out or len(all_ids) < sum(map(len, by_test_set.values())):
        return None
    n_train = len(all_ids) - n_test - float(np.mean(held_out))
    return (n_train, n_test) if n_train > 0 else None


def n_validation(run: FinishedRun) -> int | None:
    """Number of validation cases; None if it is unknown."""
    if run.validation is not None:
        return len(run.validation)
    cases = run.metrics.get("cases")
    n = cases.get("validation") if isinstance(cases, Mapping) else None
    return n if isinstance(n, int) else None
