"""What the checks look at: the table's rows with their set, class and group."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mmfusion.data.checks.finding import Finding
from mmfusion.data.datasets.plan import Plan
from mmfusion.data.schema.cells import Codes
from mmfusion.data.schema.inference import Decision, infer_columns
from mmfusion.data.schema.leaks import Leak, find_leaks
from mmfusion.data.schema.table_schema import TableSchema
from mmfusion.data.splits import SETS


@dataclass(frozen=True)
class Cohort:
    """The rows of a dataset.

    Attributes:
        frame: One row per case.
        sets: Set of each row; empty for a row in none.
        groups: Patient or lesion of each row.
        codes: Class of each row, -1 for none; all -1 for several targets.
        classes: Names of the classes; empty for several targets.
        schema: The fitted columns; None without features.
        group_column: Column of the groups; None: every row is its own.
        roles: Columns with another role than that of a feature: label, group, identifier, image names.
    """

    frame: pd.DataFrame
    sets: Sequence[str]
    groups: Sequence[str]
    codes: Codes
    classes: tuple[str, ...]
    schema: TableSchema | None
    group_column: str | None
    roles: frozenset[str]

    @classmethod
    def of(cls, plan: Plan) -> "Cohort":
        """The rows of a plan."""
        frame, reader = plan.frame, plan.reader
        sets = np.full(len(frame), "", dtype=object)
        for name, rows in zip(SETS, plan.split, strict=True):
            sets[rows] = name
        targets = list(reader.targets.values())
        alone = targets[0] if len(targets) == 1 else None
        of_images = {column for name in reader.images for column in reader.columns_of(name)}
        named = {*(target.column for target in targets), reader.id_column, reader.group_column, *of_images}
        return cls(
            frame,
            sets.tolist(),
            reader.names(frame)[1],
            np.full(len(frame), -1, dtype=np.int64) if alone is None else alone.codes(frame),
            () if alone is None else alone.classes,
            reader.schema,
            reader.group_column,
            frozenset(name for name in named if name is not None),
        )

    @property
    def decisions(self) -> Sequence[Decision]:
        """Decisions on the columns, also of a table of which none is a feature."""
        if self.schema is not None:
            return self.schema.decisions
        others = {name: "has another role" for name in self.roles if name in self.frame.columns}
        return infer_columns(self.frame, drop=others)

    def label(self, position: int) -> str:
        """The class of a row by its position; empty for none."""
        return self.classes[self.codes[position]] if self.codes[position] >= 0 else ""

    def leaks(self, properties: pd.DataFrame, question: str) -> list[Leak]:
        """Properties of the rows that distinguish classes; see :func:`~mmfusion.data.schema.leaks.find_leaks`.

        Args:
            properties: One row per case, columns of any kind; those that are constant or identify rows are left out.
            question: The end of each sentence.
        """
        labelled = self.codes >= 0
        properties = properties[labelled]
        if len(set(self.codes[labelled].tolist())) < 2 or not properties.shape[1]:
            return []
        try:
            schema = TableSchema.infer(properties)
        except ValueError:  # no column is left
            return []
        groups = [group for group, known in zip(self.groups, labelled.tolist()) if known]
        return find_leaks(
            schema, properties, self.codes[labelled], classes=self.classes, groups=groups, question=question
        )

    def rows_of(self, leak: Leak, properties: pd.DataFrame) -> tuple[Any, ...]:
        """The rows with the value of a leak; empty where it is of all rows."""
        if leak.sign != "never" or not leak.value:
            return ()
        cells = properties[leak.columns[0]]
        return tuple(cells.index[cells.map(str) == leak.value].tolist())


def leak_findings(cohort: Cohort, topic: str, properties: pd.DataFrame, question: str, fix: str) -> list[Finding]:
    """One finding for each property of the rows that distinguishes classes.

    Args:
        cohort: The rows.
        topic: Topic of the findings.
        properties: One row per case.
        question: The end of each sentence.
        fix: What to do.
    """
    leaks = cohort.leaks(properties, question)
    whole = {leak.columns for leak in leaks if leak.sign == "auc"}
    return [
        Finding(topic, str(leak).rstrip("."), fix, cohort.rows_of(leak, properties))
        for leak in leaks
        if leak.sign == "auc" or leak.columns not in whole
    ]
