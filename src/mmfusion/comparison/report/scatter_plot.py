"""Scatter plot of a metric against a cost."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture, name_axes, picture
from mmfusion.comparison.report.drawing import label_points, labeled_axes
from mmfusion.comparison.report.palette import MUTED, PAPER, Style

_HEIGHT = 310


class Dot(NamedTuple):
    """A method.

    Attributes:
        label: Text next to it; empty for none.
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


def scatter(key: str, title: str, description: str, dots: Sequence[Dot], *, x: str, y: str) -> Picture:
    """Draw the dots, the cost on a logarithmic axis, with labels on the right.

    Args:
        key: Of the picture.
        title: Of the picture.
        description: Of the picture.
        dots: At least one; the first lies on top.
        x: Label of the axis.
        y: Label of the axis.
    """

    def paint(figure: Any) -> None:
        from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

        axes = labeled_axes(figure, _HEIGHT)
        axes.set_xscale("log")
        costs = np.array([dot.x for dot in dots])
        low, high = float(costs.min()), float(costs.max())
        reach = max((high / low) ** 0.12, 1.1)
        axes.set_xlim(low / reach, high * reach)
        axes.xaxis.set_major_locator(FixedLocator(ticks(low / reach, high * reach)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: formatting.amount(value)))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        name_axes(axes, x, y)
        for dot in reversed(dots):
            color = dot.style.color if dot.style.prominent else MUTED
            axes.plot([dot.x, dot.x], [dot.low, dot.high], color=color, linewidth=1.2, zorder=2)
            face = color if dot.style.prominent else PAPER
            axes.plot([dot.x], [dot.y], dot.style.marker, ms=8, color=face, mec=color, mew=1.5, zorder=3)
        label_points(axes, [(dot.label, dot.x, dot.y, dot.style) for dot in dots if dot.label])

    return picture(key, title, description, paint, height=_HEIGHT)


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
