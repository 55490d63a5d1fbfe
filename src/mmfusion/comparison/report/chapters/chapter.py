"""A chapter of the report: its comparison, the styles of the methods, and the keys of its pictures."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmfusion.comparison.analysis.curve_data import Curve
from mmfusion.comparison.analysis.results import Comparison, Method
from mmfusion.comparison.analysis.scores import Score
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.document import Paragraph
from mmfusion.comparison.report.palette import Style, styles
from mmfusion.metrics.ranking import Floats

UNKNOWN = Score(np.nan, np.nan, np.nan, np.nan, np.nan, ())


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

    def find(self, label: str | None) -> Method | None:
        """The method with this label; None if there is none."""
        return next((method for method in self.comparison.methods if method.label == label), None)

    @property
    def reference(self) -> Method | None:
        """The reference; None if it is missing."""
        return self.find(self.comparison.reference)

    @property
    def reference_words(self) -> str:
        """Words for the reference, with its origin if anything is tested."""
        return formatting.REFERENCES[self.comparison.named] if self.comparison.tests else "the reference"

    def lacking(self, what: str, methods: Sequence[Method]) -> tuple[Paragraph, ...]:
        """One line on the methods without something; none if all have it."""
        if not methods:
            return ()
        names = formatting.listed((method.label for method in methods), most=30)
        return (Paragraph(f"{what} is missing for {names}.", kind="missing"),)


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
