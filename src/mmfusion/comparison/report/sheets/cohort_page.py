"""The page of a cohort: mean contributions, and the list of sheets."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.rendering import rendered
from mmfusion.comparison.report.sheets import overlay, trust
from mmfusion.comparison.report.sheets.bars import column_bars, group_bars
from mmfusion.comparison.report.sheets.dependence import dependence_plots
from mmfusion.comparison.report.sheets.sheet_page import BASELINES, summary
from mmfusion.experiments.explaining.cohort import ALL, CLASS, EXPLAINED, CohortMeans
from mmfusion.experiments.explaining.explanation import Explanation
from mmfusion.experiments.sharing import without_folders
from mmfusion.explain import Means

_FIRST = (CLASS, EXPLAINED)


@dataclass(frozen=True)
class CohortPage:
    """A page and its pictures.

    Attributes:
        html: The page.
        pictures: Drawn ones.
    """

    html: str
    pictures: tuple[Picture, ...]


def cohort_page(explanation: Explanation, addresses: Sequence[str]) -> CohortPage:
    """Draw and write the page.

    Args:
        explanation: The result.
        addresses: Of the sheets, relative to the page.
    """
    cohort = explanation.cohort if isinstance(explanation.cohort, CohortMeans) else None
    measured = explanation.trust if not isinstance(explanation.trust, str) else {}
    values: dict[str, Any] = {
        "title": f"{explanation.model} explained on {explanation.table}",
        "summary": _summary(explanation, cohort),
        "warnings": [*explanation.notes, *trust.warnings(explanation)],
        "named": _named(cohort),
        "sheets": [
            (address, sheet.id, summary(sheet)) for address, sheet in zip(addresses, explanation.sheets, strict=True)
        ],
        "cohort": cohort,
        "no_cohort": explanation.cohort,
        "trust": trust.tables(measured),
        "measured": trust.measured_on(measured),
        "no_trust": explanation.trust,
        "method": trust.method_name(explanation.options),
        "baseline": BASELINES[explanation.options.baseline],
        "color_against": overlay.AGAINST,
        "color_for": overlay.FOR,
    }
    pictures: list[Picture] = []
    if cohort is not None:
        found = _of_cohort(cohort)
        pictures = [*found["groupings"], *found["columns"], *found["dependence"]]
        values |= found
    return CohortPage(rendered("cohort", "html", values), tuple(pictures))


def _of_cohort(cohort: CohortMeans) -> dict[str, Any]:
    by = [name for name in cohort.modalities if name != ALL]
    return {
        "explained": cohort.explained or "the class that each case is given",
        "groupings": [group_bars(cohort, name, f"by-{number}") for number, name in enumerate(by, start=1)],
        "modality_rows": [
            (name, group, str(means.n), *map(_estimates, means.mean, means.error))
            for name, groups in cohort.modalities.items()
            for group, means in groups.items()
        ],
        "interaction_rows": _interaction(cohort, [name for name in by if name in _FIRST]),
        "more_interaction": _interaction(cohort, [name for name in by if name not in _FIRST], every=False),
        "columns": [column_bars(cohort)] if cohort.columns and ALL in cohort.parts[ALL] else [],
        "column_tables": [
            (name, [f"{group} ({means.n})" for group, means in groups.items()], _columns(cohort, groups))
            for name, groups in cohort.parts.items()
            if groups and cohort.columns
        ],
        "dependence": dependence_plots(cohort),
    }


def _summary(explanation: Explanation, cohort: CohortMeans | None) -> str:
    of = f"{formatting.plural(len(explanation.sheets), 'case')} of {explanation.table} explained"
    run = f"run {without_folders(explanation.run)}, model {explanation.model}"
    if cohort is None or ALL not in cohort.modalities[ALL]:
        return f"{of}; {run}."
    sizes = cohort.modalities[ALL][ALL].absolute.tolist()
    order = sorted(range(len(sizes)), key=lambda j: -sizes[j])
    listed = formatting.listed(f"{cohort.names[j]} {formatting.number(sizes[j], 2)}" for j in order)
    return f"{of}; {run}. Mean size of the contributions in log odds over {cohort.n} cases: {listed}."


def _named(cohort: CohortMeans | None) -> list[tuple[str, str]]:
    named = [("sheets", "Sheets"), ("modalities", "Mean contributions of the modalities")]
    if cohort is not None and cohort.pairs:
        named.append(("interaction", "Interaction of the modalities"))
    if cohort is not None and cohort.columns:
        named += [("columns", "Columns"), ("dependence", "What columns add, by their value")]
    return [*named, ("trust", "Faithfulness of the maps"), ("made", "How the numbers were computed")]


def _interaction(cohort: CohortMeans, by: Sequence[str], *, every: bool = True) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for j, (a, b) in enumerate(cohort.pairs):
        for kind in ([ALL] if every else []) + list(by):
            for group, means in cohort.interaction[kind].items():
                name = group if kind == ALL else f"{kind}: {group}"
                value = _estimates(means.mean[j], means.error[j])
                rows.append((f"{a} and {b}", name, str(means.n), value, formatting.number(float(means.absolute[j]))))
    return rows


def _columns(cohort: CohortMeans, groups: Mapping[str, Means]) -> list[tuple[str, ...]]:
    several = len({table for table, _ in cohort.columns}) > 1
    return [
        (
            f"{table}: {column}" if several else column,
            *(_estimates(means.mean[j], means.error[j]) for means in groups.values()),
        )
        for j, (table, column) in enumerate(cohort.columns)
    ]


def _estimates(mean: Tensor, error: Tensor) -> str:
    text = formatting.signed(float(mean))
    return f"{text} ({formatting.number(float(error))})" if math.isfinite(float(error)) else text
