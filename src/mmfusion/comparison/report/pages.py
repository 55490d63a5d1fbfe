"""An analysis as a page and as Markdown, from templates."""

import re
from collections.abc import Callable, Mapping

from mmfusion.comparison.analysis.across import across_datasets
from mmfusion.comparison.analysis.results import Analysis
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.chapters import (
    ablations,
    answer,
    calibration,
    checklists,
    confusion,
    contribution,
    cost,
    dataset_ranks,
    decision,
    discrimination,
    ensemble_table,
    learning_curves,
    noise,
    other_metrics,
    robustness,
    settings,
    subgroup_gaps,
    trials,
    verdict,
)
from mmfusion.comparison.report.chapters.chapter import Chapter, Part
from mmfusion.comparison.report.rendering import rendered

_PARTS: tuple[Callable[[Chapter], Part | None], ...] = (
    verdict.part,
    ensemble_table.part,
    trials.part,
    ablations.part,
    other_metrics.part,
    discrimination.roc,
    discrimination.precision_recall,
    confusion.part,
    calibration.part,
    decision.part,
    subgroup_gaps.part,
    robustness.part,
    contribution.part,
    learning_curves.part,
    noise.part,
    cost.part,
    settings.part,
    checklists.part,
)


def render(analysis: Analysis, skipped: Mapping[str, str]) -> tuple[str, str, list[Picture]]:
    """The whole report.

    Args:
        analysis: The numbers.
        skipped: By folder, why it was left out.

    Returns:
        The page as HTML, the same as Markdown, and all pictures in their order.
    """
    chapters = []
    for number, comparison in enumerate(analysis.comparisons, start=1):
        chapter = Chapter.of(comparison, number, analysis.level)
        chapters.append((chapter, [found for part in _PARTS if (found := part(chapter)) is not None]))
    over_datasets = dataset_ranks.part(across_datasets(analysis.comparisons, analysis.level))
    datasets = formatting.listed(dict.fromkeys(comparison.dataset for comparison in analysis.comparisons))
    values = {
        "answer": answer,
        "title": f"Comparison of methods on {datasets}" if datasets else "Comparison of methods",
        "analysis": analysis,
        "chapters": chapters,
        "across": over_datasets,
        "tested": [comparison for comparison in analysis.comparisons if comparison.tests],
        "skipped": [f"{folder}: {reason}" for folder, reason in skipped.items()],
    }
    markdown = re.sub(r"\n{3,}", "\n\n", rendered("report", "markdown", values)).strip() + "\n"
    groups = [group for _, parts in chapters for part in parts for group in (part.pictures, *part.collapsed.values())]
    groups += [over_datasets.pictures] if over_datasets is not None else []
    return rendered("report", "html", values), markdown, [picture for group in groups for picture in group]
