"""Identifiers that give the class away, and running numbers among the features."""

import re

import numpy as np
import pandas as pd

from mmfusion.data.checks.checked_cases import Cohort, leak_findings
from mmfusion.data.checks.finding import Finding
from mmfusion.data.schema.cells import texts

_QUESTION = "The classes were collected apart: their images may differ by that, too"
_FIX = "It is no feature; check whether the classes share scanner, site and period"
_SHARE = 0.95
"""Share of cells that are a number after a text, from which a column is taken apart."""
_NUMBERED = re.compile(r"(?P<text>\D*)(?P<number>\d{1,15})(?P<rest>\D.*)?", re.DOTALL)


def identifier_findings(cohort: Cohort) -> list[Finding]:
    """Findings on identifiers: columns that are no features and are numbered or named by class; and running numbers."""
    left_out = {decision.name: decision.reason for decision in cohort.decisions if decision.kind == "drop"}
    names = [name for name in (*left_out, cohort.group_column) if name is not None and name in cohort.frame.columns]
    parts = pd.DataFrame(index=cohort.frame.index)
    for name in dict.fromkeys(names):
        if "identifier" in left_out.get(name, "identifier") and name != "":
            for part, cells in _taken_apart(texts(cohort.frame, name)).items():
                parts[f"{name}: {part}"] = cells
    return [*leak_findings(cohort, "identifiers", parts, _QUESTION, _FIX), *_running(cohort)]


def _taken_apart(cells: list[str | None]) -> dict[str, "np.ndarray"]:
    """The text before the number, the number, and the length of identifiers."""
    matches = [None if cell is None else _NUMBERED.fullmatch(cell) for cell in cells]
    n = sum(match is not None for match in matches)
    if not n or n < _SHARE * sum(cell is not None for cell in cells):
        return {}
    before = [None if match is None else match["text"].strip(" _-./") or "none" for match in matches]
    numbers = [np.nan if match is None else float(match["number"]) for match in matches]
    return {"text before the number": np.array(before, dtype=object), "number": np.array(numbers)}


def _running(cohort: Cohort) -> list[Finding]:
    """Features that number the rows: whole numbers, each once, without gaps."""
    if cohort.schema is None:
        return []
    findings = []
    for column in cohort.schema.numerical:
        if column.kind != "numerical" or column.part or column.source not in cohort.frame.columns:
            continue
        values = column.values(cohort.frame)
        values = values[~np.isnan(values)]
        if len(values) >= 10 and np.array_equal(np.sort(values), values.min() + np.arange(len(values))):
            text = (
                f"column {column.source!r} numbers the rows from {values.min():g} to {values.max():g}, and is a feature"
            )
            findings.append(Finding("identifiers", text, f"Leave it out: drop=[{column.source!r}]"))
    return findings
