"""Test sets: their identity, and their size beside that of the training set."""

import hashlib
from collections.abc import Sequence

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
    """Mean cases of a training set and of a test set, for Nadeau and Bengio's correction; None if no run recorded its
    training cases.
    """
    known = [run.n_train for run in runs if run.n_train]
    return (float(np.mean(known)), float(np.mean([len(run.test) for run in runs]))) if known else None


def n_validation(run: FinishedRun) -> int | None:
    """Number of validation cases; None if it is unknown."""
    if run.validation is not None:
        return len(run.validation)
    n: int | None = run.metrics.get("cases", {}).get("validation")
    return n
