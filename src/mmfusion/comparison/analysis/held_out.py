"""Test parts: which runs share one, and how large they and their training parts are."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from mmfusion.comparison.finished_run import FinishedRun


def part_of(run: FinishedRun) -> str:
    """Equal for runs of the same fold whose test cases are the same, with the same labels and groups, in any order."""
    cases = run.test.take(np.argsort(run.test.ids, kind="stable"))
    digest = hashlib.sha256(str(run.fold).encode())
    for values in (cases.ids, cases.groups, cases.labels.astype(str)):
        digest.update("\0".join(values.tolist()).encode() + b"\1")
    return digest.hexdigest()


def sizes(runs: Sequence[FinishedRun]) -> tuple[float, float] | None:
    """Mean cases of a training and of a test part, for Nadeau and Bengio's correction.

    Args:
        runs: Of one dataset, any methods.

    Returns:
        None where no run says how many cases it was trained on, unless the test parts do not overlap and together are
        the dataset, as those of folds are: then it follows from them.
    """
    n_test = float(np.mean([len(run.test) for run in runs]))
    known = [run.n_train for run in runs if run.n_train]
    if known:
        return float(np.mean(known)), n_test
    of_part = {part_of(run): set(run.test.ids.tolist()) for run in runs}
    held_out = [n for run in runs if (n := n_validation(run)) is not None]
    everybody = set().union(*of_part.values())
    if len(of_part) < 2 or not held_out or len(everybody) < sum(map(len, of_part.values())):
        return None
    n_train = len(everybody) - n_test - float(np.mean(held_out))
    return (n_train, n_test) if n_train > 0 else None


def n_validation(run: FinishedRun) -> int | None:
    """Cases that a run's choices were made on."""
    if run.validation is not None:
        return len(run.validation)
    cases = run.metrics.get("cases")
    found = cases.get("validation") if isinstance(cases, Mapping) else None
    return found if isinstance(found, int) else None
