"""Chapter part: ensembles of the methods' seeds, beside their single models."""

from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.chapters.chapter import Chapter, Part, cell
from mmfusion.metrics.classification import LOWER_IS_BETTER


def part(chapter: Chapter) -> Part | None:
    """A table, best first; None if no method has two seeds on the same test cases."""
    comparison, metric = chapter.comparison, chapter.metric
    if not comparison.ensembles:
        return None
    sign = 1 if metric in LOWER_IS_BETTER else -1
    # NaN comes last.
    found = sorted(
        comparison.ensembles,
        key=lambda one: (one.scores[metric].mean != one.scores[metric].mean, sign * one.scores[metric].mean),
    )
    labels = {one.label for one in found}
    rows = [
        (
            one.label,
            "-".join(dict.fromkeys((str(min(one.sizes)), str(max(one.sizes))))),
            cell(one.scores[metric]),
            formatting.number(one.single[metric]),
            formatting.signed(one.scores[metric].mean - one.single[metric]),
        )
        for one in found
    ]
    methods = [method for method in comparison.methods if method.label in labels]
    return Part(chapter.key("ensembles"), "Seed ensembles", "ensembles", methods, values={"rows": rows})
