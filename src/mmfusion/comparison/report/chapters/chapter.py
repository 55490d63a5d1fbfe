"""A chapter of the report: its comparison, the styles of the methods, and the keys of its pictures."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmfusion.comparison.analysis.curve_data import Curve
from mmfusion.comparison.analysis.results import Comparison, Method
from mmfusion.comparison.analysis.scores import Score
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.palette import Style, styles
from mmfusion.metrics.classification import LOWER_IS_BETTER
from mmfusion.metrics.ranking import Floats

UNKNOWN = Score(np.nan, np.nan, np.nan, np.nan, np.nan, ())


@dataclass(frozen=True)
class Part:
    """A part of a chapter: input of its template.

    Attributes:
        key: Unique on the page, fit for an anchor.
        title: Plain text.
        template: Name of the template, without its suffix.
        methods: Methods that have what the part shows.
        pictures: Pictures that are always visible.
        collapsed: Pictures that are collapsed at first, by the title of their group.
        values: Further values of the template.
        lacking: What methods lack, and the labels of these methods; None if no method lacks it.
    """

    key: str
    title: str
    template: str
    methods: Sequence[Method]
    pictures: Sequence[Picture] = ()
    collapsed: Mapping[str, Sequence[Picture]] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    lacking: tuple[str, list[str]] | None = None


@dataclass(frozen=True)
class Chapter:
    """A comparison with the names and styles of its chapter.

    Attributes:
        comparison: The numbers.
        number: Number of the chapter from 1, part of its keys.
        level: Coverage of the intervals.
        styles: Style of each method, by label.
    """

    comparison: Comparison
    number: int
    level: float
    styles: dict[str, Style]

    @classmethod
    def of(cls, comparison: Comparison, number: int, level: float) -> "Chapter":
        """The chapter of a comparison, with the reference and the best methods in the foreground."""
        labels = [method.label for method in comparison.methods]
        return cls(comparison, number, level, styles(labels, comparison.reference))

    @property
    def metric(self) -> str:
        """The metric that ranks."""
        return self.comparison.metrics[0]

    @property
    def metric_words(self) -> str:
        """Its name in words."""
        return formatting.metric(self.metric)

    @property
    def best_is(self) -> str:
        """``highest`` or ``lowest``: the best value of the metric."""
        return "lowest" if self.metric in LOWER_IS_BETTER else "highest"

    @property
    def percent(self) -> str:
        """``95%``."""
        return f"{self.level:.0%}" if self.level * 100 == round(self.level * 100) else f"{self.level:.1%}"

    def key(self, *names: str | int) -> str:
        """A key for a section or picture of this chapter."""
        return "-".join(slug(str(name)) for name in (f"c{self.number}", *names))

    def method_key(self, method: Method) -> int:
        """A method's number in the ranking, for keys: labels may not be fit for files."""
        return self.comparison.methods.index(method) + 1

    def style(self, method: Method) -> Style:
        """Style of a method."""
        return self.styles[method.label]

    def label(self, method: Method) -> str:
        """Label of a method in the foreground; empty for a grey one."""
        return method.label if self.style(method).prominent else ""

    def drawn(self, methods: Sequence[Method] | None = None) -> list[Method]:
        """Methods in the order of drawing: those in the foreground first, then the others, each best first."""
        chosen = self.comparison.methods if methods is None else methods
        return sorted(chosen, key=lambda method: not self.style(method).prominent)

    def panels(
        self, methods: Sequence[Method], draw: Callable[["Chapter", Method], Picture], title: str
    ) -> tuple[list[Picture], dict[str, list[Picture]]]:
        """One picture per method: those in the foreground, and the others under a title.

        Args:
            methods: Methods to draw.
            draw: Draws one of them.
            title: What the pictures show, as in ``ROC curves``.
        """
        front = [draw(self, method) for method in methods if self.style(method).prominent]
        rest = [draw(self, method) for method in methods if not self.style(method).prominent]
        others = "the other method" if len(rest) == 1 else f"the other {len(rest)} methods"
        return front, {f"{title} of {others}": rest} if rest else {}

    @property
    def ranked(self) -> list[Method]:
        """Methods without the ablations whose whole is in the comparison, best first."""
        return [method for method in self.comparison.methods if method.whole is None]

    @property
    def reference(self) -> Method | None:
        """The reference; None if it is missing."""
        return next((method for method in self.comparison.methods if method.label == self.comparison.reference), None)

    def family(self, label: str) -> str:
        """Where the method with that label fuses."""
        return next((method.family for method in self.comparison.methods if method.label == label), "")

    @property
    def reference_words(self) -> str:
        """Words for the reference, with its origin if anything is tested."""
        return formatting.REFERENCES[self.comparison.named] if self.comparison.tests else "the reference"

    def lacking(self, what: str, present: Callable[[Method], Any]) -> tuple[str, list[str]] | None:
        """Labels of the methods without something; None if all have it.

        Args:
            what: Words for it.
            present: Whether a method has it.
        """
        labels = [method.label for method in self.comparison.methods if not present(method)]
        return (what, labels) if labels else None


def slug(text: str) -> str:
    """The text reduced to letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"


def score(method: Method, metric: str) -> Score:
    """A metric of a method; all NaN if it has none."""
    return method.scores.get(metric, UNKNOWN)


def cell(value: Score, *, sign: bool = False) -> str:
    """``0.936 (0.923 to 0.948)``."""
    return formatting.interval(value.mean, value.low, value.high, sign=sign)


def overall(curves: Sequence[Curve]) -> Curve | None:
    """The curve of all classes, which is the last; for two classes that of class 1."""
    return curves[-1] if curves else None


def thin(curve: Curve, most: int = 201) -> tuple[Floats, Floats, Floats, Floats]:
    """``x``, ``y``, ``low`` and ``high`` at ``most`` points, the ends among them."""
    n = len(curve.x)
    at = np.arange(n) if n <= most else np.unique(np.linspace(0, n - 1, most).round().astype(int))
    return curve.x[at], curve.y[at], curve.low[at], curve.high[at]
