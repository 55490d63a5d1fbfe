"""Chapter part: learning curves."""

import numpy as np

from mmfusion.comparison.analysis.curve_data import LearningCurve
from mmfusion.comparison.analysis.results import Method
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.chapters.chapter import Chapter
from mmfusion.comparison.report.document import Figures, Paragraph, Section, Table
from mmfusion.comparison.report.line_plot import Trend, trends
from mmfusion.metrics.ranking import Floats


def section(chapter: Chapter) -> Section:
    """Validation metric and training loss by epoch, and the epoch that was kept."""
    key, title = chapter.key("learning"), "Learning curves"
    methods = chapter.comparison.methods
    having = [method for method in methods if method.learning]
    if not having:
        return Section(key, title, (Paragraph("No run has a history.", kind="missing"),))
    metric = having[0].learning[0].metric
    text = (
        "Mean over the runs, thin lines are single runs. First the metric on the validation set by which the "
        "epoch was chosen, then the sum of the weighted loss terms in training, which is not comparable between "
        "methods with different terms. A validation line that still rises at its end calls for more epochs, one that "
        "falls while the loss falls for fewer."
    )
    pictures = (
        _picture(chapter, having, f"validation {formatting.metric(metric)}", "validation"),
        _picture(chapter, having, "training loss", "loss"),
    )
    table = Table(
        "Epoch whose weights were kept, run by run in the order of folds and seeds, and the number of epochs.",
        ("method", "epochs", "kept"),
        tuple(
            (
                method.label,
                formatting.listed(dict.fromkeys(str(len(curve.epochs)) for curve in method.learning)),
                _kept(method),
            )
            for method in having
        ),
    )
    lacking = chapter.lacking("A history", [method for method in methods if not method.learning and not method.is_row])
    return Section(key, title, (Paragraph(text), Figures(pictures), table, *lacking))


def _kept(method: Method) -> str:
    chosen = [curve.chosen for curve in method.learning]
    if not any(chosen):
        return formatting.NONE
    return ", ".join(formatting.NONE if epoch is None else str(epoch) for epoch in chosen)


def _picture(chapter: Chapter, methods: list[Method], name: str, field: str) -> Picture:
    lines = []
    for method in chapter.drawn(methods):
        runs = [(curve.epochs, _values(curve, field)) for curve in method.learning]
        x, y = mean(runs)
        label = chapter.label(method)
        single = tuple(runs) if label and len(runs) > 1 else ()
        lines.append(Trend(label, x, y, chapter.style(method), runs=single, thin=True))
    return trends(
        chapter.key("learning", field),
        f"{name[0].upper()}{name[1:]} by epoch",
        f"{name[0].upper()}{name[1:]} of {formatting.plural(len(lines), 'method')} over the epochs, mean over the "
        "runs.",
        lines,
        x="epoch",
        y=name,
        whole=True,
    )


def _values(curve: LearningCurve, field: str) -> Floats:
    return curve.validation if field == "validation" else curve.loss


def mean(runs: list[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Mean over the runs at each epoch; NaN if no run has a value."""
    epochs = np.unique(np.concatenate([x for x, _ in runs]))
    values = np.full((len(runs), len(epochs)), np.nan)
    for number, (x, y) in enumerate(runs):
        values[number, np.searchsorted(epochs, x)] = y
    known = np.isfinite(values)
    n = known.sum(axis=0)
    out = np.full(len(epochs), np.nan)
    np.divide(np.where(known, values, 0.0).sum(axis=0), n, out=out, where=n > 0)
    return epochs, out
