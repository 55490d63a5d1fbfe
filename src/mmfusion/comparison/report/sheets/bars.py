"""Signed bars of contributions: of a case, and of means over cases."""

from collections.abc import Mapping

import numpy as np

from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.forest_plot import Mark, Row, forest
from mmfusion.comparison.report.palette import MUTED, Style
from mmfusion.comparison.report.sheets.overlay import AGAINST, FOR
from mmfusion.experiments.explaining.cohort import ALL, CohortMeans
from mmfusion.experiments.explaining.sheet import Sheet
from mmfusion.explain import Account, Means, Parts

MOST_PARTS = 12
"""Columns and regions of a modality with bars of their own; the others are one bar."""
_MOST_REGIONS = 4
_T = 1.96
"""Half of a 95% interval in standard errors."""


def case_bars(sheet: Sheet, account: Account) -> Picture:
    """What each modality adds, and of that its presence, columns and regions; below them their sum."""
    rows = [_row("without any modality", account.bias, style=MUTED)]
    for name, value in account.modalities.items():
        rows.append(_row(name, value, bold=True))
        parts = account.parts.get(name)
        if parts is None:
            continue
        rows.append(_row("presence", account.presence[name], parts.presence_error))
        rows += _parts(parts, sheet.cells.get(name))
    rows.append(_row(f"log odds of {sheet.explained}", account.output, bold=True, style=MUTED))
    text = f"Contributions to the log odds of {sheet.explained}; the numbers are in the table below."
    title = f"Contributions to the log odds of {sheet.explained}"
    return forest("contributions", title, text, rows, axis="log odds", line=0.0)


def group_bars(cohort: CohortMeans, by: str, key: str) -> Picture:
    """Mean contributions of the modalities in each group of a grouping, with 95% intervals."""
    groups = cohort.modalities[by]
    rows = []
    for j, name in enumerate(cohort.names):
        rows.append(_mean_row(name, cohort.modalities[ALL][ALL], j, bold=True))
        rows += [_mean_row(f"{group} ({of_group.n})", of_group, j) for group, of_group in groups.items()]
    title = f"Mean contributions by {by}"
    return forest(key, title, f"{title}; the numbers are in the tables.", rows, axis="log odds", line=0.0)


def column_bars(cohort: CohortMeans) -> Picture:
    """Mean size of what each column adds, largest first."""
    means = cohort.parts[ALL][ALL]
    order = np.argsort(-means.absolute.numpy(), kind="stable")
    several = len({table for table, _ in cohort.columns}) > 1
    rows = []
    for j in order[: 2 * MOST_PARTS].tolist():
        table, column = cohort.columns[j]
        name = f"{table}: {column}" if several else column
        value = float(means.absolute[j])
        mark = Mark(value, np.nan, np.nan, (), Style(MUTED, "solid", "o", 2, True), bar=True)
        rows.append(Row(name, formatting.number(value), (mark,)))
    title = "Mean size of the contributions of columns"
    return forest("columns", title, f"{title}.", rows, axis="mean absolute log odds", line=0.0)


def signed(value: float, error: float = 0.0) -> str:
    """``+0.61 ± 0.02``; without an error where there is none."""
    return formatting.signed(value) + (f" ± {formatting.number(error)}" if error > 0 else "")


def _parts(parts: Parts, cells: Mapping[str, str] | None) -> list[Row]:
    """Bars of the largest columns or regions, and one of the others together."""
    most = _MOST_REGIONS if cells is None else MOST_PARTS
    values, errors = parts.values.tolist(), parts.errors.tolist()
    order = np.argsort(-np.abs(values), kind="stable").tolist()
    first = order[:most] if len(order) > most + 1 else order
    rows = [_row(_label(parts.names[j], cells), values[j], errors[j]) for j in first]
    if rest := order[len(first) :]:
        error = float(np.linalg.norm([errors[j] for j in rest]))
        what = formatting.plural(len(rest), "other region" if cells is None else "other column")
        rows.append(_row(what, sum(values[j] for j in rest), error))
    return rows


def _label(name: str, cells: Mapping[str, str] | None) -> str:
    return f"region {name}" if cells is None else f"{name}: {cells.get(name, formatting.NONE)}"


def _row(label: str, value: float, error: float = 0.0, *, bold: bool = False, style: str = "") -> Row:
    color = style or (FOR if value >= 0 else AGAINST)
    low, high = (value - _T * error, value + _T * error) if error > 0 else (np.nan, np.nan)
    mark = Mark(value, low, high, (), Style(color, "solid", "", 2, True), bar=True)
    return Row(label, signed(value, error), (mark,), bold)


def _mean_row(label: str, means: Means, j: int, *, bold: bool = False) -> Row:
    value, error = float(means.mean[j]), float(means.error[j])
    return _row(label, value, error if np.isfinite(error) else 0.0, bold=bold)
