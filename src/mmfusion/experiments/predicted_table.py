"""Predictions of new cases as a table: raw and calibrated probabilities, labels, and what the cases lacked."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfusion.data.reader import CaseReader
from mmfusion.experiments import predictions
from mmfusion.experiments.locked import Locked
from mmfusion.metrics.conformal import COVERAGE, prediction_sets
from mmfusion.metrics.ranking import Floats
from mmfusion.spec import Classes

SET, ABSTAIN, SEPARATOR = "set", "abstain", " | "
"""Columns of the conformal set and of whether it is none of one class; what divides the classes of a set."""
UNFINISHED = (
    "the folder has neither locked.json nor metrics.json, as before a run is finished, and so no threshold and no "
    "temperature: label is the likeliest class, and there are no calibrated probabilities"
)
NO_TEMPERATURE = "the run has no temperature, since its output on validation was not finite: nothing is calibrated"
NO_THRESHOLD = "the run has no threshold, since its output on validation was not finite: label is the likeliest class"


@dataclass(frozen=True)
class Outputs:
    """A model's output for new cases.

    Attributes:
        ids: Name of each case.
        probabilities: Shape ``(n, k)``; not finite where the model's output is not.
        missing: Of each case the columns and images that it lacked.
        outside: Of each case the columns whose number is far outside the training range.
        remarks: Sentences on the cells.
    """

    ids: tuple[str, ...]
    probabilities: Floats
    missing: tuple[tuple[str, ...], ...]
    outside: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...]

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Whether the output for each case is finite, shape ``(n,)``."""
        return np.asarray(np.isfinite(self.probabilities).all(axis=1))


def calibrated_columns(target: Classes) -> list[str]:
    """``calibrated_<class>`` in the order of the classes."""
    return [f"calibrated_{name}" for name in predictions.class_names(target)]


def tabulate(
    outputs: Outputs,
    frame: pd.DataFrame,
    reader: CaseReader,
    kind: Classes,
    locked: Locked | None,
    say: Callable[[str], None],
    coverage: float = COVERAGE,
) -> pd.DataFrame:
    """One row per case, with the frame's index.

    Args:
        outputs: Of the model.
        frame: The rows that they are of.
        reader: Names the columns of the case and the group.
        kind: The classes.
        locked: Threshold and temperature; None: none are known, and none are missed.
        say: Receives the remarks, and a sentence on rows without a label.
        coverage: Of the conformal sets, if the run has calibration cases.

    Returns:
        As :meth:`mmfusion.experiments.predictor.Predictor.predict`.
    """
    for remark in outputs.remarks:
        say(remark)
    p, finite = outputs.probabilities, outputs.finite
    if n := int((~finite).sum()):
        rows = ", ".join(map(str, frame.index[~finite][:10])) + (", ..." if n > 10 else "")
        say(f"{n} of {len(p)} rows have no label, since the model's output is not finite: {rows}")
    decide = locked or Locked()
    if locked is not None:
        for sentence in lacking(locked, kind):
            say(sentence)
    names = predictions.class_names(kind)
    safe = np.where(finite[:, None], p, 1 / len(names))
    columns: dict[str, NDArray[np.float64]] = dict(zip(predictions.probability_columns(kind), safe.T))
    calibrated = decide.calibrated(safe)
    if calibrated is not None:
        columns |= dict(zip(calibrated_columns(kind), calibrated.T))
    taken = {*columns, "label", *((SET, ABSTAIN) if decide.scores else ()), "missing", "outside"}
    identifier = free_name(reader.id_column or "id", "id", taken)
    out = pd.DataFrame({identifier: list(outputs.ids)}, index=frame.index)
    group = reader.group_column
    if group is not None and group in frame.columns and group != reader.id_column:
        out[free_name(group, "group", {*taken, identifier})] = frame[group]
    for column, values in columns.items():
        out[column] = np.where(finite, values, np.nan)
    labels = decide.labels(safe).tolist()
    out["label"] = [names[index] if known else None for index, known in zip(labels, finite, strict=True)]
    if decide.scores:
        in_set = prediction_sets(safe, decide.scores, coverage)
        sets = [SEPARATOR.join(name for name, has in zip(names, row) if has) for row in in_set.tolist()]
        out[SET] = [text if known else None for text, known in zip(sets, finite, strict=True)]
        out[ABSTAIN] = (in_set.sum(axis=1) != 1) | ~finite
    out["missing"] = [", ".join(row) for row in outputs.missing]
    out["outside"] = [", ".join(row) for row in outputs.outside]
    return out


def lacking(locked: Locked, kind: Classes) -> list[str]:
    """Sentences on what a run should have locked and has not."""
    no_threshold = kind.n == 2 and locked.threshold is None
    if locked.temperature is None and (no_threshold or kind.n > 2) and not locked.finished:
        return [UNFINISHED]
    return ([NO_TEMPERATURE] if locked.temperature is None else []) + ([NO_THRESHOLD] if no_threshold else [])


def free_name(name: str, instead: str, taken: Collection[str]) -> str:
    """A column's own name, or where the result has a column of that name already, another one."""
    while name in taken:
        name = instead if instead not in taken else f"{name}_"
    return name
