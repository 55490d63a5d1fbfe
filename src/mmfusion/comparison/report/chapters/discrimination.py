"""Chapter parts: ROC curves and precision-recall curves, of all methods, of each with the reference, by class."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from mmfusion.comparison.analysis.curve_data import Curve
from mmfusion.comparison.analysis.results import Method
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.chapters.chapter import Chapter, Part, overall, thin
from mmfusion.comparison.report.curve_plot import Line, square
from mmfusion.comparison.report.palette import foremost


@dataclass(frozen=True)
class _Kind:
    name: str
    title: str
    reading: str
    x: str
    y: str
    area: str
    curves: Callable[[Method], Sequence[Curve]]


_ROC = _Kind(
    "roc",
    "ROC curves",
    "A curve further to the upper left is better; the dotted diagonal is guessing.",
    f"1 {formatting.MINUS} specificity",
    "sensitivity",
    "AUC",
    lambda method: method.curves.roc,
)
_PRECISION = _Kind(
    "precision",
    "Precision and recall",
    "A curve further to the upper right is better; the dotted line is guessing, the share of positive cases.",
    "recall",
    "precision",
    "AP",
    lambda method: method.curves.precision_recall,
)


def roc(chapter: Chapter) -> Part:
    """ROC curves."""
    return _part(chapter, _ROC)


def precision_recall(chapter: Chapter) -> Part:
    """Precision against recall."""
    return _part(chapter, _PRECISION)


def _part(chapter: Chapter, kind: _Kind) -> Part:
    classes = chapter.comparison.classes
    methods = [method for method in chapter.comparison.methods if kind.curves(method)]
    pictures, collapsed = chapter.panels(methods, partial(_single, kind), kind.title)
    if len(methods) > 1:
        pictures.insert(0, _all(chapter, kind, methods))
    if methods and len(classes) > 2:
        by_class = [_class(chapter, kind, methods, number) for number in range(len(classes))]
        collapsed[f"{kind.title} class by class"] = by_class
    return Part(
        chapter.key(kind.name),
        kind.title,
        "discrimination",
        methods,
        pictures,
        collapsed,
        values={"reading": kind.reading, "grey": sum(not chapter.style(method).prominent for method in methods)},
        lacking=chapter.lacking("This", kind.curves),
    )


def _square(
    chapter: Chapter, kind: _Kind, key: str | int, title: str, text: str, lines: list[Line], of: str | None = None
) -> Picture:
    return square(
        chapter.key(kind.name, *(["class"] if of is not None else []), key),
        title,
        f"{kind.title} of {text}.",
        lines,
        x=kind.x,
        y=kind.y,
        diagonal=kind is _ROC,
        level=_prevalence(chapter, of) if kind is _PRECISION else None,
    )


def _prevalence(chapter: Chapter, of: str | None) -> float | None:
    """Share of positive cases, the precision of guessing: of a class, or of the curve of all classes."""
    comparison = chapter.comparison
    total = sum(comparison.prevalence.values())
    if not total:
        return None
    shares = [comparison.prevalence.get(name, 0) / total for name in comparison.classes]
    if of is not None:
        return shares[comparison.classes.index(of)]
    return shares[1] if len(shares) == 2 else sum(shares) / len(shares)


def _line(chapter: Chapter, curve: Curve, method: Method, label: str, *, band: bool) -> Line:
    """A line with its band is the one that its picture is of."""
    x, y, low, high = thin(curve)
    style = chapter.style(method)
    return Line(label, x, y, foremost(style), low, high) if band else Line(label, x, y, style)


def _all(chapter: Chapter, kind: _Kind, methods: Sequence[Method]) -> Picture:
    lines = [
        _line(chapter, kind.curves(method)[-1], method, chapter.label(method), band=False)
        for method in chapter.drawn(methods)
    ]
    labels = formatting.listed(method.label for method in methods if chapter.label(method))
    text = f"{formatting.plural(len(methods), 'method')}; labeled are {labels}"
    return _square(chapter, kind, "all", f"All {len(methods)} methods", text, lines)


def _single(kind: _Kind, chapter: Chapter, method: Method) -> Picture:
    curve, reference = kind.curves(method)[-1], chapter.reference
    lines, beside = [_line(chapter, curve, method, method.label, band=True)], ""
    if reference is not None and reference is not method and (other := overall(kind.curves(reference))) is not None:
        lines.append(_line(chapter, other, reference, reference.label, band=False))
        beside = f" beside the reference {reference.label}"
    area = f"{kind.area} {formatting.number(curve.area)}"
    text = f"{method.label}{beside}, with its band; {area}"
    return _square(chapter, kind, chapter.method_key(method), f"{method.label}: {area}", text, lines)


def _class(chapter: Chapter, kind: _Kind, methods: Sequence[Method], number: int) -> Picture:
    name = chapter.comparison.classes[number]
    lines = [
        _line(chapter, curve, method, chapter.label(method), band=False)
        for method in chapter.drawn(methods)
        for curve in kind.curves(method)
        if curve.of == name
    ]
    cases = chapter.comparison.prevalence.get(name, 0)
    text = f"class {name} against the rest, {formatting.plural(cases, 'test case')}"
    return _square(chapter, kind, number + 1, f"{name}, {formatting.plural(cases, 'case')}", text, lines, of=name)
