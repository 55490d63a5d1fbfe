"""The held-out cases of a run with their predictions, as ``predictions.csv`` has them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfusion.experiments import folder
from mmfusion.metrics.ranking import Floats

PARTS = ("validation", "test", "calibration")
"""Sets of held-out cases."""

_COLUMNS = ("id", "group", "part", "label", "fold", "seed")
_PROBABILITY = "prob_"


@dataclass(frozen=True)
class Cases:
    """Cases of the validation or test set with a run's predictions.

    Attributes:
        ids: Shape ``(n,)``, text.
        groups: Shape ``(n,)``, text: the patient or lesion of each.
        labels: Shape ``(n,)``, class indices.
        probabilities: Shape ``(n, k)``.
    """

    ids: NDArray[np.str_]
    groups: NDArray[np.str_]
    labels: NDArray[np.int64]
    probabilities: Floats

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def grouped(self) -> bool:
        """Whether some patient or lesion has several cases."""
        return len(set(self.groups.tolist())) < len(self)

    @cached_property
    def records(self) -> frozenset[tuple[str, str, int]]:
        """Id, group and label of each case, without an order."""
        return frozenset(zip(self.ids.tolist(), self.groups.tolist(), self.labels.tolist(), strict=True))

    def take(self, rows: NDArray[np.intp]) -> "Cases":
        """Some of the cases, or all in a different order."""
        return Cases(self.ids[rows], self.groups[rows], self.labels[rows], self.probabilities[rows])


class HeldOut(NamedTuple):
    """The predictions of a run.

    Attributes:
        classes: Names, in the order of the probabilities.
        parts: Cases by set; only sets that have some.
        seed: Of the run.
        fold: Of its test set, from 0.
    """

    classes: tuple[str, ...]
    parts: Mapping[str, Cases]
    seed: int
    fold: int


def read(place: Path) -> HeldOut | None:
    """The held-out cases of a run.

    Args:
        place: Its folder.

    Returns:
        None where the folder has no predictions, as a shared one.

    Raises:
        ValueError: If the file is not what a run writes.
    """
    path = place / folder.PREDICTIONS
    if not path.is_file():
        return None
    try:
        # Text: 007 is not 7, and a class may be called NA.
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, OverflowError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a table: {error}") from error
    return parse(frame, str(path))


def parse(frame: pd.DataFrame, name: str) -> HeldOut:
    """Check a table of predictions.

    Args:
        frame: Its cells as text.
        name: Of its file, for messages.

    Raises:
        ValueError: If it is not what a run writes.
    """
    columns = [column for column in frame.columns if column.startswith(_PROBABILITY)]
    absent = [column for column in _COLUMNS if column not in frame.columns]
    if absent or len(columns) < 2:
        raise ValueError(
            f"{name} expects the columns {', '.join(_COLUMNS)} and two or more {_PROBABILITY}<class>, got "
            f"{', '.join(map(str, frame.columns))}"
        )
    classes = tuple(column.removeprefix(_PROBABILITY) for column in columns)
    numbers = frame[[*columns, "fold", "seed"]].apply(pd.to_numeric, errors="coerce")
    p = numbers[columns].to_numpy(dtype=np.float64)
    if not np.isfinite(p).all():
        bad = int((~np.isfinite(p)).any(axis=1).sum())
        raise ValueError(f"{name}: the probabilities of {bad} out of {len(p)} cases are not finite")
    if (p < 0).any() or (np.abs(p.sum(axis=1) - 1) > 0.01).any():
        raise ValueError(f"{name}: probabilities expect values from 0 to 1 that sum to 1 in each case")
    if unknown := sorted(set(frame["label"]) - set(classes)):
        raise ValueError(f"{name} has labels without a column of probabilities: {', '.join(unknown)}")
    labels = pd.Categorical(frame["label"], categories=list(classes)).codes.astype(np.int64)
    numbers_of_run = {}
    for key in ("seed", "fold"):
        values = sorted(set(numbers[key]))
        if len(values) != 1 or not float(values[0]).is_integer():
            raise ValueError(f"{name} expects one {key}, got {', '.join(sorted(set(frame[key])))}")
        numbers_of_run[key] = int(values[0])
    parts = {}
    for part in PARTS:
        rows = np.flatnonzero((frame["part"] == part).to_numpy())
        if not len(rows):
            continue
        ids = frame["id"].to_numpy(dtype=str)[rows]
        if len(set(ids)) < len(ids):
            raise ValueError(f"{name} has an id more than once in the {part} set")
        groups = frame["group"].to_numpy(dtype=str)[rows]
        parts[part] = Cases(ids, groups, labels[rows], p[rows])
    return HeldOut(classes, parts, numbers_of_run["seed"], numbers_of_run["fold"])


def mean(several: Sequence[Cases | None]) -> Cases | None:
    """The same held-out cases with the mean probabilities, by their ids.

    Args:
        several: A set of each run; None where it is unknown.

    Returns:
        None if a run has none, or they differ in cases or labels.
    """
    ordered = [cases.take(np.argsort(cases.ids, kind="stable")) for cases in several if cases is not None]
    if not ordered or len(ordered) < len(several):
        return None
    first = ordered[0]
    if any(not np.array_equal(first.ids, one.ids) or not np.array_equal(first.labels, one.labels) for one in ordered):
        return None
    return Cases(first.ids, first.groups, first.labels, np.mean([one.probabilities for one in ordered], axis=0))
