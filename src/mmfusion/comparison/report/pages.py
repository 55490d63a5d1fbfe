"""An analysis as a page and as Markdown, from templates."""

import html
import re
from collections.abc import Callable, Mapping
from typing import Any

from mmfusion.comparison.analysis.across import across_datasets
from mmfusion.comparison.analysis.results import Analysis
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture, clean
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
from mmfusion.comparison.report.table_width import ALWAYS, SCREENS, stacking
from mmfusion.utils.optional import need

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
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$])")


def escape(text: str) -> str:
    """Text on one line in which nothing is Markdown."""
    return _SPECIAL.sub(r"\\\1", " ".join(clean(text).replace("&", "&amp;").split())).replace("\\<", "&lt;")


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
        "title": f"Comparison of methods on {datasets}" if datasets else "Comparison of methods",
        "analysis": analysis,
        "chapters": chapters,
        "across": over_datasets,
        "tested": [comparison for comparison in analysis.comparisons if comparison.tests],
        "skipped": [f"{folder}: {reason}" for folder, reason in skipped.items()],
    }
    markdown = re.sub(r"\n{3,}", "\n\n", _render("markdown", escape, values)).strip() + "\n"
    groups = [group for _, parts in chapters for part in parts for group in (part.pictures, *part.collapsed.values())]
    groups += [over_datasets.pictures] if over_datasets is not None else []
    page = _render("html", lambda text: html.escape(clean(text)), values)
    return page, markdown, [picture for group in groups for picture in group]


def _render(format: str, escaped: Callable[[str], str], values: Mapping[str, Any]) -> str:
    """The report in one format: what is no text or markup of the templates' own is escaped."""
    jinja2, markup = need("jinja2", "bench"), need("markupsafe", "bench").Markup
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        autoescape=True,
        finalize=lambda value: value if isinstance(value, markup) else markup(escaped(str(value))),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["flow"] = lambda text: markup(" ".join(text.split()))
    environment.filters["metric"] = formatting.metric
    environment.filters["stacking"] = stacking
    environment.globals["screens"] = (*SCREENS, ALWAYS)
    blocks = environment.get_template(f"{format}.jinja").module
    template = environment.get_template("report.jinja")
    rendered: str = template.render(doc=blocks, words=formatting, answer=answer, **values)
    return rendered
