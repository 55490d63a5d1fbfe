"""Chapter part: robustness to missing cells."""

from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.chapters.chapter import Chapter, Part, cell
from mmfusion.comparison.report.line_plot import Trend, trends


def part(chapter: Chapter) -> Part:
    """A curve and a table."""
    methods = [method for method in chapter.comparison.methods if method.robustness is not None]
    curves = {method.label: method.robustness for method in methods if method.robustness is not None}
    metric = formatting.metric(next(iter(curves.values())).metric) if curves else ""
    shares = sorted({float(share) for curve in curves.values() for share in curve.shares})
    rows = []
    for label, curve in curves.items():
        columns = (curve.shares, curve.mean, curve.low, curve.high)
        at = {share: formatting.interval(*numbers) for share, *numbers in zip(*(c.tolist() for c in columns))}
        rows.append((label, cell(curve.area), *(at.get(share, formatting.NONE) for share in shares)))
    return Part(
        chapter.key("robustness"),
        "Robustness to missing cells",
        "robustness",
        methods,
        [_picture(chapter, metric)] if curves else [],
        values={"metric": metric, "shares": [f"{share:.0%}" for share in shares], "rows": rows},
        lacking=chapter.lacking("This", lambda method: method.robustness),
    )


def _picture(chapter: Chapter, metric: str) -> Picture:
    lines = []
    for method in chapter.drawn():
        if (curve := method.robustness) is not None:
            label = chapter.label(method)
            low, high = (curve.low, curve.high) if label else (None, None)
            runs = tuple((curve.shares, points) for points in curve.points) if label and len(curve.points) > 1 else ()
            lines.append(Trend(label, curve.shares, curve.mean, chapter.style(method), low, high, runs))
    return trends(
        chapter.key("robustness", "cells"),
        f"{metric} as cells go missing",
        f"{metric} on the test set over the share of table cells made missing, for "
        f"{formatting.plural(len(lines), 'method')}; the numbers are in the table below.",
        lines,
        x="cells missing",
        y=metric,
        percent=True,
    )
