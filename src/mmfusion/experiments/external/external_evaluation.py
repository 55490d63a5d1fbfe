"""What an external validation finds, as values."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import pandas as pd

from mmfusion.experiments.external.duplicates import Duplicate
from mmfusion.experiments.external.scores import LabelledCases, Scores, SubgroupScores
from mmfusion.experiments.external.shift import Shift
from mmfusion.experiments.external.true_labels import TrueLabels
from mmfusion.experiments.locked import Locked
from mmfusion.metrics.classification import reported
from mmfusion.metrics.definitions import undefined_sentence
from mmfusion.metrics.differences import independent_difference
from mmfusion.metrics.intervals import Estimate

FORMAT = 1
"""Version of :meth:`ExternalEvaluation.to_dict`."""
_SHOWN = 10


@dataclass(frozen=True)
class ExternalEvaluation:
    """A run on another table. Made by :func:`~mmfusion.experiments.external.validation.evaluate`.

    Attributes:
        runs: Folders of the run, or of several whose mean predicts.
        table: Name of the table.
        classes: The run's, in order.
        locked: Its threshold and temperature.
        cases: One row per case: what ``predict`` gives, and ``true``, its class; none where it has no known label.
        labels: Counts of the labels; None if the table has no column of them.
        scores: Metrics; None if no row has a label of the run's classes.
        internal: The same of the run's own test set; None if its predictions are not known.
        subgroups: Metrics of subgroups.
        shifts: Columns, images and embeddings next to those of the run's own cases.
        duplicates: Cases that resemble training cases too much.
        unreached: Why the run's own cases could not be compared with, as the end of a sentence; empty if they were.
        notes: What was matched, what is lacking, and remarks on cells, one sentence each.
        judged: The cases behind ``scores``; None without them.
        own_judged: Those behind ``internal``.
    """

    runs: tuple[str, ...]
    table: str
    classes: tuple[str, ...]
    locked: Locked
    cases: pd.DataFrame
    labels: TrueLabels | None
    scores: Scores | None
    internal: Scores | None
    subgroups: tuple[SubgroupScores, ...]
    shifts: tuple[Shift, ...]
    duplicates: tuple[Duplicate, ...]
    unreached: str
    notes: tuple[str, ...]
    judged: LabelledCases | None = field(default=None, repr=False)
    own_judged: LabelledCases | None = field(default=None, repr=False)

    @property
    def changes(self) -> dict[str, tuple[float, float, float]]:
        """By metric, its value here less that on the run's test set, with the ends of an interval for other cases."""
        if self.scores is None or self.internal is None:
            return {}
        here, there = self.scores.metrics, self.internal.metrics
        return {name: independent_difference(here[name][:3], there[name][:3]) for name in here if name in there}

    def sentences(self) -> list[str]:
        """What a reader of the metrics must know, the gravest first."""
        if self.labels is None:
            lines = ["The table has no column of labels: there are predictions, and no metrics."]
        else:
            lines = self.labels.sentences()
        if self.labels is not None and self.scores is None:
            lines.append("No row has a label of the run's classes: there are predictions, and no metrics.")
        if self.scores is not None and self.scores.not_finite:
            lines.append(
                f"The output for {self.scores.not_finite} of {self.scores.n_cases} cases is not finite: all metrics "
                "are undefined."
            )
        elif self.scores is not None:
            lacking = [name for name, n in self.scores.of_class.items() if not n]
            undefined = [name for name, value in self.scores.metrics.items() if value.to_dict()["value"] is None]
            lines += [undefined_sentence(lacking, undefined, "The table")] if lacking else []
        if self.duplicates:
            n = len({one.case for one in self.duplicates})
            lines.append(
                f"{n} of {len(self.cases)} cases {'resembles' if n == 1 else 'resemble'} training cases too much: as "
                "far as they are the same, the metrics are too good."
            )
        if shifted := [one for one in self.shifts if one.shifted]:
            lines.append(
                f"{len(shifted)} of {sum(math.isfinite(one.p) for one in self.shifts)} compared properties of the "
                f"cases differ from the run's own: {', '.join(one.title for one in shifted[:_SHOWN])}"
                + (f" and {len(shifted) - _SHOWN} more." if len(shifted) > _SHOWN else ".")
            )
        if self.unreached:
            lines.append(
                f"Shifts are not tested, and images and rows not compared with the training cases: {self.unreached}."
            )
        return [*lines, *self.notes]

    def to_dict(self) -> dict[str, Any]:
        """All numbers and notes, for JSON; without the cases."""
        labels = self.labels
        changes = {
            name: dict(zip(("value", "low", "high"), map(reported, ends))) for name, ends in self.changes.items()
        }
        return {
            "format": FORMAT,
            "runs": list(self.runs),
            "table": self.table,
            "classes": list(self.classes),
            "threshold": self.locked.threshold,
            "temperature": self.locked.temperature,
            "labels": None
            if labels is None
            else {"of_class": labels.of_class, "unknown": labels.unknown, "unlabelled": labels.unlabelled},
            "scores": plain(self.scores),
            "internal": plain(self.internal),
            "changes": changes,
            "subgroups": plain(self.subgroups),
            "shifts": [{**plain(one), "shifted": one.shifted} for one in self.shifts],
            "duplicates": len({one.case for one in self.duplicates}),
            "notes": self.sentences(),
        }


def plain(value: Any) -> Any:
    """Dataclasses, estimates and numbers as JSON has them: what is not finite is null."""
    if isinstance(value, Estimate):
        return value.to_dict()
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain(entry) for name, entry in value._asdict().items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {entry.name: plain(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return reported(value) if isinstance(value, float) else value
