"""Chapter part: cost."""

import dataclasses
import math
from collections.abc import Callable

from mmfusion.comparison.analysis.results import Cost
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.chapters.chapter import Chapter, Part, score
from mmfusion.comparison.report.scatter_plot import Dot, scatter

_KINDS: dict[str, tuple[str, str, Callable[[Cost], float]]] = {
    "parameters": ("Parameters", "parameters", lambda cost: cost.parameters),
    "flops": ("Operations", "FLOPs per case", lambda cost: cost.flops_per_case),
    "time": ("Training time", "seconds of training", lambda cost: cost.train_seconds),
    "memory": ("Memory", "peak memory, GiB", lambda cost: cost.peak_memory_bytes / 2**30),
}
"""By key: title, axis and value."""


def part(chapter: Chapter) -> Part:
    """The ranking metric against each cost, and a table."""
    costs = {m.label: m.cost for m in chapter.comparison.methods if m.cost is not None and _measured(m.cost)}
    pictures = {title: _picture(chapter, key, title, axis, of) for key, (title, axis, of) in _KINDS.items()}
    return Part(
        chapter.key("cost"),
        "Cost",
        "cost",
        [method for method in chapter.comparison.methods if method.label in costs],
        [picture for picture in pictures.values() if picture is not None],
        values={
            "rows": [_row(label, cost) for label, cost in costs.items()],
            "unmeasured": [title.lower() for title, picture in pictures.items() if picture is None],
        },
        lacking=chapter.lacking("The cost", lambda method: method.label in costs or method.is_row),
    )


def _measured(cost: Cost) -> bool:
    """Whether anything was measured."""
    return any(isinstance(value, int | float) and math.isfinite(value) for value in dataclasses.astuple(cost))


def _row(label: str, cost: Cost) -> tuple[str, ...]:
    return (
        label,
        formatting.listed(cost.devices) or formatting.NONE,
        formatting.amount(cost.parameters),
        formatting.amount(cost.trainable),
        formatting.amount(cost.flops_per_case),
        formatting.number(cost.epochs, 1).removesuffix(".0"),
        formatting.count(cost.train_seconds),
        _rate(cost.train_cases_per_second),
        _rate(cost.inference_cases_per_second),
        formatting.number(cost.peak_memory_bytes / 2**30, 2),
    )


def _rate(value: float) -> str:
    """Three digits, as many behind the point in a column of the same size: ``29.0`` below ``28.8``."""
    return formatting.number(value, 1) if 10 <= value < 99.95 else formatting.amount(value)


def _picture(chapter: Chapter, key: str, title: str, axis: str, of: Callable[[Cost], float]) -> Picture | None:
    dots = []
    for method in chapter.drawn():
        x = of(method.cost) if method.cost is not None else 0.0
        value = score(method, chapter.metric)
        # NaN is not above 0 either.
        if x > 0 and value.mean == value.mean:
            dots.append(Dot(method.label, x, value.mean, value.low, value.high, chapter.style(method)))
    if not dots:
        return None
    return scatter(
        chapter.key("cost", key),
        f"{title} against {chapter.metric_words}",
        f"{chapter.metric_words} of {formatting.plural(len(dots), 'method')} against {axis}, with intervals; the "
        "numbers are in the table below.",
        dots,
        x=axis,
        y=chapter.metric_words,
        about=score(chapter.reference or chapter.ranked[0], chapter.metric).mean,
    )
