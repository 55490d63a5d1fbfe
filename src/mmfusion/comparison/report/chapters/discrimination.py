"""Chapter parts: ROC curves and precision-recall curves, of all methods, of each with the reference, by class."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mmfusion.comparison.analysis.curve_data import Curve
from mmfusion.comparison.analysis.results import Method
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.chapters.chapter import Chapter, overall, thin
from mmfusion.comparison.report.curve_plot import Line, square
from mmfusion.comparison.report.document import Block, Figures, Lid, Paragraph, Section


@dataclass(frozen=True)
class _Kind:
    name: str
    title: str
    x: str
    y: str
    area: str
    corner: str
    curves: Callable[[Method], Sequence[Curve]]


_ROC = _Kind(
    "roc",
    "ROC curves",
    f"1 {formatting.MINUS} specificity",
    "sensitivity",
    "AUC",
    "lower right",
    lambda m: m.curves.roc,
)
_PRECISION = _Kind(
    "precision", "Precision and recall", "recall", "precision", "AP", "below", lambda m: m.curves.precision_recall
)


def roc(chapter: Chapter) -> Section:
    """ROC curves."""
    return _section(chapter, _ROC, "A curve further to the upper left is better; the dotted diagonal is guessing.")


def precision_recall(chapter: Chapter) -> Section:
    """Precision against recall."""
    return _section(
        chapter,
        _PRECISION,
        "A curve further to the upper right is better; the dotted line is guessing, the share of positive cases.",
    )


def _section(chapter: Chapter, kind: _Kind, reading: str) -> Section:
    comparison = chapter.comparison
    key = chapter.key(kind.name)
    having = [method for method in comparison.methods if kind.curves(method)]
    if not having:
        return Section(key, kind.title, (Paragraph("No method has these curves.", kind="missing"),))
    multiclass = len(comparison.classes) > 2
    what = (
        "Mean of the classes' curves, each class against the rest"
        if multiclass
        else f"Of {comparison.classes[-1]} against {comparison.classes[0]}"
    )
    text = f"{what}, mean over the runs. {reading} The bands are pointwise {chapter.percent} intervals."
    grey = sum(not chapter.style(method).prominent for method in having)
    if grey:
        text += f" {formatting.plural(grey, 'method')} in grey: each has its own picture below."
    front = [method for method in having if chapter.style(method).prominent]
    rest = [method for method in having if not chapter.style(method).prominent]
    pictures = [_all(chapter, kind, having)]
    if len(having) > 1:
        pictures += [_single(chapter, kind, method) for method in front]
    else:
        pictures = [_single(chapter, kind, having[0])]
    blocks: list[Block] = [Paragraph(text), Figures(tuple(pictures))]
    if rest:
        panels = tuple(_single(chapter, kind, method) for method in rest)
        blocks.append(Lid(f"{kind.title} of the other {formatting.plural(len(rest), 'method')}", (Figures(panels),)))
    if multiclass:
        panels = tuple(_class(chapter, kind, having, number) for number in range(len(comparison.classes)))
        blocks.append(Lid(f"{kind.title} class by class", (Figures(panels),)))
    blocks += chapter.lacking("This", [method for method in comparison.methods if not kind.curves(method)])
    return Section(key, kind.title, tuple(blocks))


def _level(chapter: Chapter, kind: _Kind, of: str | None = None) -> float | None:
    """Share of positive cases: the precision of guessing; None for ROC curves."""
    if kind is not _PRECISION:
        return None
    comparison = chapter.comparison
    total = sum(comparison.prevalence.values())
    if not total:
        return None
    shares = [comparison.prevalence.get(name, 0) / total for name in comparison.classes]
    if of is not None:
        return shares[comparison.classes.index(of)]
    return shares[1] if len(shares) == 2 else sum(shares) / len(shares)


def _line(chapter: Chapter, curve: Curve, method: Method, label: str, *, band: bool) -> Line:
    x, y, low, high = thin(curve)
    return Line(label, x, y, chapter.style(method), low if band else None, high if band else None)


def _all(chapter: Chapter, kind: _Kind, methods: Sequence[Method]) -> Picture:
    lines = [
        _line(chapter, curve, method, chapter.label(method), band=False)
        for method in chapter.drawn(methods)
        if (curve := overall(kind.curves(method))) is not None
    ]
    labels = [method.label for method in methods if chapter.label(method)]
    return square(
        chapter.key(kind.name, "all"),
        f"All {len(methods)} methods",
        f"{kind.title} of {formatting.plural(len(methods), 'method')}; labeled are {formatting.listed(labels)}.",
        lines,
        x=kind.x,
        y=kind.y,
        diagonal=kind is _ROC,
        level=_level(chapter, kind),
        corner=kind.corner,
    )


def _single(chapter: Chapter, kind: _Kind, method: Method) -> Picture:
    curve = kind.curves(method)[-1]
    lines = [_line(chapter, curve, method, method.label, band=True)]
    reference = chapter.reference
    other = None if reference is None or reference is method else overall(kind.curves(reference))
    if reference is not None and other is not None:
        lines.append(_line(chapter, other, reference, reference.label, band=False))
    beside = f" beside the reference {reference.label}" if reference is not None and other is not None else ""
    return square(
        chapter.key(kind.name, chapter.method_key(method)),
        f"{method.label}: {kind.area} {formatting.number(curve.area)}",
        f"{kind.title} of {method.label}{beside}, with its band; {kind.area} {formatting.number(curve.area)}.",
        lines,
        x=kind.x,
        y=kind.y,
        diagonal=kind is _ROC,
        level=_level(chapter, kind),
        corner=kind.corner,
    )


def _class(chapter: Chapter, kind: _Kind, methods: Sequence[Method], number: int) -> Picture:
    name = chapter.comparison.classes[number]
    lines = []
    for method in chapter.drawn(methods):
        curve = next((curve for curve in kind.curves(method) if curve.of == name), None)
        if curve is not None:
            lines.append(_line(chapter, curve, method, chapter.label(method), band=False))
    cases = chapter.comparison.prevalence.get(name, 0)
    return square(
        chapter.key(kind.name, "class", number + 1),
        f"{name}, {formatting.plural(cases, 'case')}",
        f"{kind.title} of class {name} against the rest, {formatting.plural(cases, 'test case')}.",
        lines,
        x=kind.x,
        y=kind.y,
        diagonal=kind is _ROC,
        level=_level(chapter, kind, name),
        corner=kind.corner,
    )
