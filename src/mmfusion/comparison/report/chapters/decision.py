"""Chapter part: decision curves."""

from collections.abc import Sequence

import numpy as np

from mmfusion.comparison.analysis.results import Method
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.chapters.chapter import Chapter, Part
from mmfusion.comparison.report.line_plot import Trend, trends
from mmfusion.comparison.report.palette import MUTED, Style
from mmfusion.metrics.decision import THRESHOLDS, treat_all, useful_range

_ALL = Style(MUTED, (0, (2, 3)), "", 1.5, True)
_NONE = Style(MUTED, "solid", "", 1.5, True)


def part(chapter: Chapter) -> Part:
    """Net benefit by threshold, one picture per class, and the thresholds at which each method is of use."""
    comparison = chapter.comparison
    methods = [method for method in comparison.methods if method.curves.net_benefit]
    names = [curve.of for curve in methods[0].curves.net_benefit] if methods else []
    total = sum(comparison.prevalence.values())
    shares = [comparison.prevalence.get(name, 0) / total if total else np.nan for name in names]
    return Part(
        chapter.key("decision"),
        "Decision curves: is a decision by the model worth it?",
        "decision",
        methods,
        [_picture(chapter, methods, number, name, share) for number, (name, share) in enumerate(zip(names, shares))],
        values={"names": names, "rows": [_row(method, shares) for method in methods]},
        lacking=chapter.lacking("This", lambda method: method.curves.net_benefit),
    )


def _row(method: Method, shares: Sequence[float]) -> tuple[str, ...]:
    found = [useful_range(curve.y, share) for curve, share in zip(method.curves.net_benefit, shares)]
    ranges = ["none" if ends is None else f"{ends[0]:.2f}{formatting.NONE}{ends[1]:.2f}" for ends in found]
    return method.label, *ranges


def _picture(chapter: Chapter, methods: Sequence[Method], number: int, name: str, share: float) -> Picture:
    lines, several = [], len(chapter.comparison.classes) > 2
    for method in chapter.drawn(methods):
        curve, style = method.curves.net_benefit[number], chapter.style(method)
        # The bands of all methods would cover the lines.
        low, high = (curve.low, curve.high) if style.prominent and method.is_reference else (None, None)
        lines.append(Trend(method.label, curve.x, curve.y, style, low, high))
    lines.append(Trend("", THRESHOLDS, treat_all(share), _ALL))
    lines.append(Trend("", THRESHOLDS, np.zeros(len(THRESHOLDS)), _NONE))
    top = max(float(np.nanmax(line.y)) for line in lines)
    return trends(
        chapter.key("decision", number + 1),
        f"{name}, {share:.1%} of the cases",
        f"Net benefit of {formatting.plural(len(methods), 'method')} over the threshold on the probability of {name}, "
        "beside treating all and treating none; the useful thresholds are in the table below.",
        lines,
        x="threshold",
        y="net benefit",
        span=(-0.2 * top, np.inf),
        panel=several,
    )
