"""What is left as more and more of the tables' cells are missing."""

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
            told = bool(chapter.told(method))
            lines.append(
                Trend(
                    chapter.told(method),
                    curve.shares,
                    curve.mean,
                    chapter.style(method),
                    curve.low if told else None,
                    curve.high if told else None,
                    tuple((curve.shares, points) for points in curve.points) if told and len(curve.points) > 1 else (),
                )
            )
    picture = trends(
        chapter.key("robustness", "cells"),
        f"{metric} as cells go missing",
        f"{metric} on the test part over the share of table cells made missing, for "
        f"{formatting.plural(len(lines), 'method')}; the numbers are in the table below.",
        lines,
        x="cells missing",
        y=metric,
        percent=True,
    )
    text = (
        "Test cases lose a share of the cells that their tables have, drawn at random; the model is the same. A "
        f"flatter line holds out longer. Bands are {chapter.percent} intervals of the mean, of the test cases: seeds "
        "share these, so that their intervals are averaged, rather too wide than too narrow, and folds are taken as "
        "independent. Small circles are single runs. The area under the line, over the width of the shares, puts it "
        "in one number."
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
