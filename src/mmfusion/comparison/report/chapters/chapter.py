"""What all parts of a chapter share: the comparison, who is drawn how, and what each picture may be called."""

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
    """A comparison on its way to the page.

    Attributes:
        comparison: Its numbers.
        number: From 1; with the comparison's name it makes the keys.
        level: Coverage of the intervals.
        styles: By label.
    """

    comparison: Comparison
    number: int
    level: float
    styles: dict[str, Style]

    @classmethod
    def of(cls, comparison: Comparison, number: int, level: float) -> "Chapter":
        """With the reference and the best methods in the foreground."""
        labels = [method.label for method in comparison.methods]
        return cls(comparison, number, level, styles(labels, comparison.reference))

    @property
    def metric(self) -> str:
        """The one that ranks."""
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
        """How it is drawn."""
        return self.styles[method.label]

    def told(self, method: Method) -> str:
        """Its label where it is in the foreground; empty for the grey ones."""
        return method.label if self.style(method).prominent else ""

    def drawn(self, methods: Sequence[Method] | None = None) -> list[Method]:
        """Those in the foreground first, each group best first: the order in which pictures are layered."""
        chosen = self.comparison.methods if methods is None else methods
        return sorted(chosen, key=lambda method: not self.style(method).prominent)

    def find(self, label: str | None) -> Method | None:
        """The method of that label."""
        return next((method for method in self.comparison.methods if method.label == label), None)

    @property
    def reference(self) -> Method | None:
        """What the others are tested against."""
        return self.find(self.comparison.reference)

    @property
    def reference_words(self) -> str:
        """What the reference is; how it came to be it only where something is tested."""
        return formatting.REFERENCES[self.comparison.named] if self.comparison.tests else "the reference"

    def lacking(self, what: str, methods: Sequence[Method]) -> tuple[Paragraph, ...]:
        """One line on methods that do not have something; none where all do."""
        if not methods:
            return ()
        names = formatting.listed((method.label for method in methods), most=30)
        return (Paragraph(f"{what} is missing for {names}.", kind="missing"),)


def slug(text: str) -> str:
    """Letters, digits and hyphens alone."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"


def score(method: Method, metric: str) -> Score:
    """A metric of a method; all NaN where there is none."""
    return method.scores.get(metric, UNKNOWN)


def cell(value: Score, *, sign: bool = False) -> str:
    """``0.936 (0.923 to 0.948)``."""
    return formatting.interval(value.mean, value.low, value.high, sign=sign)


def overall(curves: Sequence[Curve]) -> Curve | None:
    """The curve that stands for all classes: the last, of class 1 alone where there are two."""
    return curves[-1] if curves else None


def thin(curve: Curve, most: int = 201) -> tuple[Floats, Floats, Floats, Floats]:
    """``x``, ``y``, ``low`` and ``high`` at no more points than a picture can show; the ends stay."""
    n = len(curve.x)
    at = np.arange(n) if n <= most else np.unique(np.linspace(0, n - 1, most).round().astype(int))
    return curve.x[at], curve.y[at], curve.low[at], curve.high[at]
