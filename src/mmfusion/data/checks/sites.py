"""Columns of scanners and sites: they show where a case was examined, not what the patient has."""

import re

import numpy as np

from mmfusion.data.checks.checked_cases import Cohort
from mmfusion.data.checks.finding import Finding, listed
from mmfusion.data.schema.cells import distinct, one_column
from mmfusion.data.schema.columns import MIN_CASES

_NAMED = re.compile(
    r"(?i)(.*[ _.-])?(device|scanner|machine|vendor|manufacturer|camera|probe|coil|model[ _.-]?name|station|modality|"
    r"site|center|centre|hospital|clinic|institution|institute|ward|department|operator|technician|radiologist|"
    r"physician|reader|rater|protocol|batch|source|cohort|study)s?([ _.-]?(id|name|no|nr|number|code))?"
)
_MOST = 50
_TELLING = 0.2
"""Difference of a class's share between two sites from which it is reported."""


def names_a_site(column: str) -> bool:
    """Whether a heading seems to name scanners, sites or people."""
    return _NAMED.fullmatch(column) is not None


def site_findings(cohort: Cohort) -> list[Finding]:
    """Findings on columns of scanners, sites and readers: features, and those whose classes or sets differ."""
    findings = []
    features = set() if cohort.schema is None else set(cohort.schema.sources)
    for name in map(str, cohort.frame.columns):
        if name in cohort.roles or not names_a_site(name):
            continue
        codes, values = distinct(one_column(cohort.frame, name))
        if not 2 <= len(values) <= _MOST:
            continue
        about = [*_shares(cohort, codes, values), *_sets(cohort, codes, values)]
        if name in features:
            about = ["it is a feature", *about]
        if not about:
            continue
        text = f"column {name!r} seems to name scanners, sites or people ({listed(values, 5)}): {'; '.join(about)}"
        drop = f"To leave it out: drop=[{name!r}]. " if name in features else ""
        findings.append(Finding("sites", text, f"{drop}For results by it: subgroups=[{name!r}]"))
    return findings


def _shares(cohort: Cohort, codes: "np.ndarray", values: list[str]) -> list[str]:
    """The class whose share differs most between two sites."""
    texts = []
    shares: dict[str, list[tuple[float, str]]] = {}
    for code, value in enumerate(values):
        of_site = cohort.codes[(codes == code) & (cohort.codes >= 0)]
        if len(of_site) >= MIN_CASES:
            for label, share in zip(cohort.classes, np.bincount(of_site, minlength=len(cohort.classes)) / len(of_site)):
                shares.setdefault(label, []).append((float(share), value))
    if shares:
        label, of_label = max(shares.items(), key=lambda entry: max(entry[1])[0] - min(entry[1])[0])
        (low, where_low), (high, where_high) = min(of_label), max(of_label)
        if high - low >= _TELLING:
            texts.append(f"{label!r} is {low:.0%} of the cases of {where_low!r} and {high:.0%} of {where_high!r}")
    return texts


def _sets(cohort: Cohort, codes: "np.ndarray", values: list[str]) -> list[str]:
    """Sites that are in other sets than the training set alone."""
    sets = np.array(cohort.sets, dtype=object)
    absent = [value for i, value in enumerate(values) if (codes == i).any() and not (sets[codes == i] == "train").any()]
    return [f"no training case has {listed(map(repr, absent), 5)}"] if absent else []
