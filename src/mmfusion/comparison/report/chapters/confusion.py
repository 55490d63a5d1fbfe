"""Chapter part: confusion matrices."""

import numpy as np

from mmfusion.comparison.analysis.results import Method
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.chapters.chapter import Chapter, Part
from mmfusion.comparison.report.matrix_plot import matrix


def part(chapter: Chapter) -> Part:
    """One matrix per method."""
    methods, title = chapter.comparison.methods, "Confusion matrices"
    return Part(chapter.key("confusion"), title, "confusion", methods, *chapter.panels(methods, _picture, title))


def _picture(chapter: Chapter, method: Method) -> Picture:
    classes = chapter.comparison.classes
    shares = method.confusion.shares
    recalls = "; ".join(
        f"{name} {'has no cases' if np.isnan(share) else f'{share:.0%} correct'}"
        for name, share in zip(classes, np.diagonal(shares))
    )
    return matrix(
        chapter.key("confusion", chapter.method_key(method)),
        method.label,
        f"Confusion matrix of {method.label}: {recalls}.",
        shares,
        classes,
    )
