"""Chapter part: cost."""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

from mmfusion.comparison.analysis.results import Cost
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.chapters.chapter import Chapter, score
from mmfusion.comparison.report.document import Block, Figures, Paragraph, Section, Table
from mmfusion.comparison.report.scatter_plot import Dot, scatter


class _Kind(NamedTuple):
    key: str
    title: str
    axis: str
    of: Callable[[Cost], float]


_KINDS = (
    _Kind("parameters", "Parameters", "parameters", lambda cost: cost.parameters),
    _Kind("flops", "Operations", "FLOPs per case", lambda cost: cost.flops_per_case),
    _Kind("time", "Training time", "seconds of training", lambda cost: cost.train_seconds),
    _Kind("memory", "Memory", "peak memory, GiB", lambda cost: cost.peak_memory_bytes / 2**30),
)


def section(chapter: Chapter) -> Section:
    """The ranking metric against each cost, and a table."""
    key, title = chapter.key("cost"), "Cost"
    methods = chapter.comparison.methods
    having = {method.label: method.cost for method in methods if method.cost is not None and _measured(method.cost)}
    if not having:
        return Section(key, title, (Paragraph("No run recorded its cost.", kind="missing"),))
    text = (
        f"{chapter.metric_words} against the cost of a method, on a logarithmic axis: the upper left is good and "
        "cheap. Parameters and operations are the same on every machine; seconds, throughput and memory are "
        "comparable only between runs on the same, otherwise idle machine."
    )
    pictures = []
    lacking = []
    for kind in _KINDS:
        picture = _picture(chapter, kind)
        if picture is None:
            lacking.append(kind.title.lower())
        else:
            pictures.append(picture)
    blocks: list[Block] = [Paragraph(text), *([Figures(tuple(pictures))] if pictures else [])]
    if lacking:
        blocks.append(Paragraph(f"Not measured: {formatting.listed(lacking)}.", kind="missing"))
    table = Table(
        "Cost, mean over the runs. Operations count a multiply-add as two, of one forward pass; training seconds "
        "include validation.",
        (
            "method",
            "measured on",
            "parameters",
            "trained",
            "FLOPs per case",
            "epochs",
            "training, s",
            "training, cases/s",
            "inference, cases/s",
            "peak memory, GiB",
        ),
        tuple(_row(label, cost) for label, cost in having.items()),
        numeric=8,
        strong=frozenset(number for number, label in enumerate(having) if label == chapter.comparison.reference),
    )
    missing = [method for method in methods if method.label not in having and not method.is_row]
    return Section(key, title, (*blocks, table, *chapter.lacking("The cost", missing)))


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
        formatting.amount(cost.train_cases_per_second),
        formatting.amount(cost.inference_cases_per_second),
        formatting.number(cost.peak_memory_bytes / 2**30, 2),
    )


def _picture(chapter: Chapter, kind: _Kind) -> Picture | None:
    dots = []
    for method in chapter.drawn():
        x = kind.of(method.cost) if method.cost is not None else 0.0
        value = score(method, chapter.metric)
        # NaN is not above 0 either.
        if x > 0 and value.mean == value.mean:
            dots.append(Dot(chapter.label(method), x, value.mean, value.low, value.high, chapter.style(method)))
    if not dots:
        return None
    return scatter(
        chapter.key("cost", kind.key),
        f"{kind.title} against {chapter.metric_words}",
        f"{chapter.metric_words} of {formatting.plural(len(dots), 'method')} against {kind.axis}, with intervals; the "
        "numbers are in the table below.",
        dots,
        x=kind.axis,
        y=chapter.metric_words,
    )
