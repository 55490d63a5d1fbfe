"""Chapter part: robustness to missing cells."""

from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.chapters.chapter import Chapter, cell
from mmfusion.comparison.report.document import Figures, Paragraph, Section, Table
from mmfusion.comparison.report.line_plot import Trend, trends


def section(chapter: Chapter) -> Section:
    """A curve and a table."""
    key, title = chapter.key("robustness"), "Robustness to missing cells"
    methods = chapter.comparison.methods
    curves = {method.label: method.robustness for method in methods if method.robustness is not None}
    if not curves:
        return Section(key, title, (Paragraph("No run was evaluated with missing cells.", kind="missing"),))
    metric = formatting.metric(next(iter(curves.values())).metric)
    lines = []
    for method in chapter.drawn():
        curve = curves.get(method.label)
        if curve is not None:
            labeled = bool(chapter.label(method))
            lines.append(
                Trend(
                    chapter.label(method),
                    curve.shares,
                    curve.mean,
                    chapter.style(method),
                    curve.low if labeled else None,
                    curve.high if labeled else None,
                    tuple((curve.shares, points) for points in curve.points)
                    if labeled and len(curve.points) > 1
                    else (),
                )
            )
    picture = trends(
        chapter.key("robustness", "cells"),
        f"{metric} as cells go missing",
        f"{metric} on the test set over the share of table cells made missing, for "
        f"{formatting.plural(len(lines), 'method')}; the numbers are in the table below.",
        lines,
        x="cells missing",
        y=metric,
        percent=True,
    )
    text = (
        "A share of the test cases' table cells, drawn at random, is made missing; the model is the same. A flatter "
        f"line is more robust. Bands are {chapter.percent} intervals of the mean for other test cases: seeds share "
        "their cases, so that their intervals are averaged, which is rather too wide, and folds are assumed "
        "independent. Small circles are single runs. The area under the line, divided by the range of shares, "
        "summarizes it in one number."
    )
    shares = sorted({float(share) for curve in curves.values() for share in curve.shares})
    rows = []
    for method in methods:
        curve = curves.get(method.label)
        if curve is None:
            continue
        at = {
            float(share): formatting.interval(float(mean), float(low), float(high))
            for share, mean, low, high in zip(curve.shares, curve.mean, curve.low, curve.high)
        }
        rows.append((method.label, cell(curve.area), *(at.get(share, formatting.NONE) for share in shares)))
    table = Table(
        f"{metric} by the share of cells missing, with {chapter.percent} intervals, and the area under that line.",
        ("method", "area", *(f"{share:.0%}" for share in shares)),
        tuple(rows),
        numeric=1 + len(shares),
    )
    lacking = chapter.lacking("This", [method for method in methods if method.label not in curves])
    return Section(key, title, (Paragraph(text), Figures((picture,)), table, *lacking))
