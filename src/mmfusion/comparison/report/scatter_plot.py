"""Scatter plot of a metric against a cost."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.axis import limits, reach
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.drawing import named
from mmfusion.comparison.report.labeled_plot import edge_mark, labeled
from mmfusion.comparison.report.palette import DOT, MUTED, PAPER, Style


class Dot(NamedTuple):
    """A method.

    Attributes:
        label: Its name, shown if it is prominent or an outlier.
        x: Cost, above 0.
        y: Value.
        low: Lower end of the value's interval.
        high: Upper end.
        style: How it is drawn.
    """

    label: str
    x: float
    y: float
    low: float
    high: float
    style: Style


def scatter(
    key: str, title: str, description: str, dots: Sequence[Dot], *, x: str, y: str, about: float | None = None
) -> Picture:
    """Draw the dots, the cost on a logarithmic axis, with a key of the prominent ones below.

    Args:
        key: Of the picture.
        title: Of the picture.
        description: Of the picture.
        dots: At least one; the first lies on top.
        x: Label of the axis.
        y: Label of the axis.
        about: The reference's value: dots far from it are triangles at the edge, with their values; None: none is.
    """
    costs, values = np.array([dot.x for dot in dots]), np.array([dot.y for dot in dots])
    widest = max((float(costs.max()) / float(costs.min())) ** 0.12, 1.1)
    left, right = float(costs.min()) / widest, float(costs.max()) * widest
    intervals = np.array([(dot.low, dot.high) for dot in dots])
    low, high = -np.inf, np.inf
    if about is not None:
        low, high = reach(values, (intervals[:, 1] - intervals[:, 0]) / 2, about)
    near = ~((values < low) | (values > high))
    ends = limits([values[near], intervals[near]])
    shown = [dot.style if dot.style.prominent else dot.style._replace(color=MUTED, line=DOT) for dot in dots]
    names = [named(dot.label, style, dot.x, dot.y, ends) for dot, style in zip(dots, shown)]

    def paint(axes: Any, wide: bool) -> None:
        from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

        axes.set_xscale("log")
        axes.set_xlim(left, right)
        # A number at the very end would stick out of the picture.
        inner = (right / left) ** 0.06
        axes.xaxis.set_major_locator(FixedLocator(ticks(left * inner, right / inner)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: formatting.amount(value)))
        for dot in reversed(dots):
            color = dot.style.color if dot.style.prominent else MUTED
            if not ends[0] <= dot.y <= ends[1]:
                edge_mark(axes, dot.x, dot.y, ends, color)
                continue
            axes.plot([dot.x, dot.x], [dot.low, dot.high], color=color, linewidth=1.2, zorder=2)
            face = color if dot.style.prominent else PAPER
            axes.plot([dot.x], [dot.y], dot.style.marker, ms=8, color=face, mec=color, mew=1.5, zorder=3)

    return labeled(key, title, description, paint, names, x=x, y=y, ends=ends, panel=True)


def ticks(low: float, high: float, apart: float = 0.28) -> list[float]:
    """Ticks of a logarithmic axis: powers of ten, or even steps if fewer than two powers fit.

    Args:
        low: Left end, above 0.
        high: Right end.
        apart: Smallest distance of two ticks, as a share of the axis, so that their labels do not overlap.
    """
    first, last = int(np.ceil(np.log10(low))), int(np.floor(np.log10(high)))
    candidates = [[10.0**exponent for exponent in range(first, last + 1)]]
    base = 10.0 ** np.floor(np.log10((high - low) / 10))
    for digits in (100, 50, 25, 20, 10, 5, 2.5, 2, 1):
        step = digits * base
        candidates.append([float(n * step) for n in range(int(np.ceil(low / step)), int(high / step) + 1)])
    for values in candidates:
        kept: list[float] = []
        for value in values:
            if not kept or np.log(value / kept[-1]) >= apart * np.log(high / low):
                kept.append(value)
        if len(kept) >= 2:
            return kept
    return [float(np.sqrt(low * high))]
