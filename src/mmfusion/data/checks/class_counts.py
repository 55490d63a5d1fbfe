"""Classes with few cases in a set."""

import numpy as np

from mmfusion.data.checks.checked_cases import Cohort
from mmfusion.data.checks.finding import Finding, rows_where
from mmfusion.data.splits import SETS

FEW = 5
"""Fewer cases of a class in a set allow no estimate."""


def class_findings(cohort: Cohort) -> list[Finding]:
    """One finding per class with few cases in a set."""
    sets = np.array(cohort.sets, dtype=object)
    findings = []
    for code, label in enumerate(cohort.classes):
        counts = {name: int(((sets == name) & (cohort.codes == code)).sum()) for name in SETS if (sets == name).any()}
        if few := {name: n for name, n in counts.items() if n < FEW}:
            listing = ", ".join(f"{n} in {name}" for name, n in few.items())
            rows = rows_where(cohort.frame, (cohort.codes == code) & np.isin(sets, list(few)))
            fix = "Metrics of it are hardly known there: choose other fractions, or folds=5, or merge rare classes"
            findings.append(Finding("classes", f"class {label!r} has few cases: {listing}", fix, rows))
    return findings
