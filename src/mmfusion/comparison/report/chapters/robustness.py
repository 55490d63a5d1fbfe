"""Chapter part: robustness to missing cells."""

from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.chapters.chapter import Chapter, Part, cell
from mmfusion.comparison.report.line_plot import Trend, trends
from mmfusion.comparison.report.palette import REFERENCE


def part(chapter: Chapter) -> Part:
    """A curve and a table."""
    methods = [method for method in chapter.comparison.methods if method.robustness is not None]
    curves = {method.label: method.robustness for method in methods if method.robustness is not None}
    metric = formatting.metric(next(iter(curves.values())).metric) if curves else ""
    shares = sorted({float(share) for curve in curves.values() for share in curve.shares})
    rows = []
    for label, curve in curves.items():
        at = {share: formatting.number(mean) for share, mean in zip(curve.shares.tolist(), curve.mean.tolist())}
        rows.append((label, cell(curve.area), *(at.get(share, formatting.NONE) for share in shares)))
    return Part(
        chapter.key("robustness"),
        "Robustness to missing cells",
        "robustness",
        methods,
        [_picture(chapter, metric, shares)] if curves else [],
        values={"metric": metric, "shares": [f"{share:.0%}" for share in shares], "rows": rows},
        lacking=chapter.lacking("This", lambda method: method.robustness),
    )


def _picture(chapter: Chapter, metric: str, shares: list[float]) -> Picture:
    lines = []
    # More bands would cover each other: that of the reference, and of the best other method.
    best = next((method.label for method in chapter.ranked if not method.is_reference), None)
    for method in chapter.drawn():
        if (curve := method.robustness) is not None:
            style = chapter.style(method)
            shown = method.is_reference or method.label == best
            low, high = (curve.low, curve.high) if shown else (None, None)
            several = shown and len(curve.points) > 1
            runs = tuple((curve.shares, points) for points in curve.points) if several else ()
            lines.append(Trend(method.label, curve.shares, curve.mean, style, low, high, runs))
    return trends(
        chapter.key("robustness", "cells"),
        f"{metric} as cells go missing",
        f"{metric} on the test set over the share of table cells made missing, for "
        f"{formatting.plural(len(lines), 'method')}; the numbers are in the table below.",
        lines,
        x="cells missing",
        y=metric,
        percent=True,
        at=shares,
        about=REFERENCE,
    )
