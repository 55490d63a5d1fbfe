"""Chapter part: confusion matrices."""

import numpy as np

from mmfusion.comparison.analysis.results import Method
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.chapters.chapter import Chapter
from mmfusion.comparison.report.document import Block, Figures, Lid, Paragraph, Section
from mmfusion.comparison.report.matrix_plot import matrix


def section(chapter: Chapter) -> Section:
    """One matrix per method."""
    methods = chapter.comparison.methods
    blocks: list[Block] = [
        Paragraph(
            "A row is a true class, a column the predicted class, which is the likeliest; numbers are percent of the "
            "row, mean over the runs, and the framed diagonal is correct. Darker cells have more cases."
        )
    ]
    front = [method for method in methods if chapter.style(method).prominent]
    rest = [method for method in methods if not chapter.style(method).prominent]
    blocks.append(Figures(tuple(_picture(chapter, method) for method in front)))
    if rest:
        panels = tuple(_picture(chapter, method) for method in rest)
        blocks.append(
            Lid(f"Confusion matrices of the other {formatting.plural(len(rest), 'method')}", (Figures(panels),))
        )
    return Section(chapter.key("confusion"), "Confusion matrices", tuple(blocks))


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
