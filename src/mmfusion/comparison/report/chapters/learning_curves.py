"""Chapter part: learning curves."""

import numpy as np

from mmfusion.comparison.analysis.results import Method
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.chapters.chapter import Chapter, Part
from mmfusion.comparison.report.line_plot import Trend, trends
from mmfusion.comparison.report.palette import REFERENCE
from mmfusion.metrics.ranking import Floats
from mmfusion.metrics.weighted import mean_defined


def part(chapter: Chapter) -> Part:
    """Validation metric and training loss by epoch, and the epoch that was kept."""
    methods = [method for method in chapter.comparison.methods if method.learning]
    pictures = []
    if methods:
        metric = formatting.metric(methods[0].learning[0].metric)
        pictures.append(_picture(chapter, methods, f"validation {metric}", "validation"))
        pictures.append(_picture(chapter, methods, "training loss", "loss"))
    return Part(
        chapter.key("learning"),
        "Learning curves",
        "learning_curves",
        methods,
        pictures,
        values={"rows": [_row(method) for method in methods]},
        lacking=chapter.lacking("A history", lambda method: method.learning or method.is_row),
    )


def _row(method: Method) -> tuple[str, ...]:
    chosen = [curve.chosen for curve in method.learning]
    kept = ", ".join(formatting.NONE if epoch is None else str(epoch) for epoch in chosen)
    epochs = formatting.listed(dict.fromkeys(str(len(curve.epochs)) for curve in method.learning))
    return method.label, epochs, kept if any(chosen) else formatting.NONE


def _picture(chapter: Chapter, methods: list[Method], name: str, field: str) -> Picture:
    lines = []
    for method in chapter.drawn(methods):
        runs = tuple((curve.epochs, getattr(curve, field)) for curve in method.learning)
        x, y = mean(runs)
        style = chapter.style(method)
        single = runs if style.prominent and len(runs) > 1 else ()
        lines.append(Trend(method.label, x, y, style, runs=single, thin=True))
    title = formatting.capitalized(name)
    return trends(
        chapter.key("learning", field),
        f"{title} by epoch",
        f"{title} of {formatting.plural(len(lines), 'method')} over the epochs, mean over the runs.",
        lines,
        x="epoch",
        y=name,
        whole=True,
        # Losses of different terms have nothing in common.
        about=REFERENCE if field == "validation" else None,
    )


def mean(runs: tuple[tuple[Floats, Floats], ...]) -> tuple[Floats, Floats]:
    """Mean over the runs at each epoch; NaN if no run has a value."""
    epochs = np.unique(np.concatenate([x for x, _ in runs]))
    values = np.full((len(epochs), len(runs)), np.nan)
    for number, (x, y) in enumerate(runs):
        values[np.searchsorted(epochs, x), number] = y
    return epochs, mean_defined(values)
