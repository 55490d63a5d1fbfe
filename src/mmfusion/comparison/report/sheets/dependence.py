"""What a column adds, by its value."""

from collections.abc import Sequence

import numpy as np

from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.forest_plot import Mark, Row, forest
from mmfusion.comparison.report.line_plot import Trend, trends
from mmfusion.comparison.report.palette import OTHER, styles
from mmfusion.comparison.report.text_layout import text_width
from mmfusion.experiments.explaining.cohort import CohortMeans, Dependence
from mmfusion.metrics.ranking import Floats

MOST = 12
"""Columns that are drawn: those with the largest contributions."""
_BINS = 4
_MOST_UNIT = 200
_T = 1.96


def dependence_plots(cohort: CohortMeans) -> list[Picture]:
    """One picture per column, the most important first; of a column without two known values none."""
    order = np.argsort([-float(np.abs(one.added).mean()) for one in cohort.dependence], kind="stable")
    several = len({one.table for one in cohort.dependence}) > 1
    pictures: list[Picture] = []
    for number, j in enumerate(order.tolist()):
        one = cohort.dependence[j]
        known = np.isfinite(one.values) & np.isfinite(one.added)
        if len(pictures) == MOST or len(np.unique(one.values[known])) < 2:
            continue
        name = f"{one.table}: {one.column}" if several else one.column
        draw = _levels if one.categories else _numbers
        pictures.append(draw(f"dependence-{number + 1}", name, one, known, cohort))
    return pictures


def _numbers(key: str, name: str, one: Dependence, known: np.ndarray, cohort: CohortMeans) -> Picture:
    """Points by class, with the mean of each quarter of a class's values."""
    classes = list(dict.fromkeys(cohort.classes))
    style = styles(classes, None)
    of_class = np.array(cohort.classes, dtype=object)
    lines = []
    for label in classes:
        rows = known & (of_class == label)
        if rows.any():
            x, y = one.values[rows], one.added[rows]
            lines.append(Trend(label, *_means(x, y), style.get(label, OTHER), runs=((x, y),)))
    axis = one.unit if one.unit and text_width(one.unit) < _MOST_UNIT else "value"
    text = f"Contribution of {name} by its value."
    return trends(key, f"Contribution of {name}", text, lines, x=axis, y="log odds", panel=True)


def _levels(key: str, name: str, one: Dependence, known: np.ndarray, cohort: CohortMeans) -> Picture:
    """One row per level: the mean with its interval."""
    rows = []
    for code, level in enumerate(one.categories):
        added = one.added[known & (one.values == code)]
        if len(added):
            rows.append(_level(level, added))
    return forest(
        key, f"Contribution of {name}", f"Contribution of {name} by its level.", rows, axis="log odds", line=0.0
    )


def _level(level: str, added: Floats) -> Row:
    mean = float(added.mean())
    half = _T * float(added.std(ddof=1)) / len(added) ** 0.5 if len(added) > 1 else np.nan
    points: Sequence[float] = added.tolist() if len(added) > 1 else ()
    mark = Mark(mean, mean - half, mean + half, tuple(points), styles([level], None)[level])
    return Row(level, f"{formatting.signed(mean)}, {formatting.plural(len(added), 'case')}", (mark,))


def _means(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Means of quarters of the cases by value; equal values stay together."""
    edges = np.unique(np.quantile(x, np.linspace(0, 1, _BINS + 1)[1:-1]))
    place = np.searchsorted(edges, x, side="right")
    bins = np.unique(place)
    return np.array([x[place == b].mean() for b in bins]), np.array([y[place == b].mean() for b in bins])
