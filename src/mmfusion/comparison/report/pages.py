"""An analysis as a document."""

from collections.abc import Mapping

from mmfusion.comparison.analysis.results import Analysis, Named
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.chapters import (
    answer,
    calibration,
    confusion,
    contribution,
    cost,
    discrimination,
    learning_curves,
    ranking,
    robustness,
    settings,
    subgroups,
)
from mmfusion.comparison.report.chapters.chapter import Chapter
from mmfusion.comparison.report.document import Block, Bullets, Document, Paragraph, Section

_PARTS = (
    ranking.section,
    discrimination.roc,
    discrimination.precision_recall,
    confusion.section,
    calibration.section,
    robustness.section,
    contribution.section,
    subgroups.section,
    learning_curves.section,
    cost.section,
    settings.section,
)


def document(analysis: Analysis, skipped: Mapping[str, str]) -> Document:
    """The whole report.

    Args:
        analysis: The numbers.
        skipped: By folder, why it was left out.
    """
    chapters = [
        Chapter.of(comparison, number, analysis.level)
        for number, comparison in enumerate(analysis.comparisons, start=1)
    ]
    lead: list[Block] = []
    for chapter in chapters:
        if len(chapters) > 1:
            lead.append(Paragraph(f"{chapter.comparison.name}: {answer.compared(chapter)}"))
        else:
            lead.append(Paragraph(answer.compared(chapter)))
        lead.append(Paragraph(answer.answer(chapter, analysis.reference), kind="answer"))
    if not chapters:
        lead.append(Paragraph("There is nothing to report: there is no finished run.", kind="missing"))
    if len(chapters) > 1:
        lead.append(
            Paragraph(
                "Comparisons differ in dataset, data settings, budget or encoder. Their numbers must not be "
                "compared with each other: each comparison has its own chapter."
            )
        )
    if skipped:
        items = tuple(f"{folder}: {reason}" for folder, reason in skipped.items())
        lead.append(Bullets(items, kind="warning", title=f"{formatting.plural(len(items), 'folder')} skipped"))
    datasets = formatting.listed(dict.fromkeys(chapter.comparison.dataset for chapter in chapters))
    title = f"Comparison of methods on {datasets}" if datasets else "Comparison of methods"
    return Document(
        title, tuple(lead), (*(_chapter(chapter, analysis) for chapter in chapters), *_methods(analysis, chapters))
    )


def _chapter(chapter: Chapter, analysis: Analysis) -> Section:
    blocks: list[Block] = []
    cautions = tuple(caution.text for caution in chapter.comparison.cautions)
    if cautions:
        blocks.append(Bullets(cautions, kind="warning", title="Before you read the numbers"))
    if len(analysis.comparisons) > 1:
        blocks += [
            Paragraph(answer.compared(chapter)),
            Paragraph(answer.answer(chapter, analysis.reference), kind="answer"),
        ]
    return Section(
        f"comparison-{chapter.key()}",
        chapter.comparison.name,
        tuple(blocks),
        tuple(part(chapter) for part in _PARTS),
    )


def _methods(analysis: Analysis, chapters: list[Chapter]) -> tuple[Section, ...]:
    if not chapters:
        return ()
    return (
        Section(
            "made",
            "How the numbers were computed",
            (
                Paragraph(
                    "Everything here is computed from the stored predictions of the test sets. Epochs, thresholds and "
                    "temperatures are chosen on the validation sets, unless a warning says otherwise."
                ),
                Paragraph(
                    f"Intervals cover {analysis.level:.0%}: a bootstrap with {analysis.n_resamples:,} resamples "
                    f"(seed {analysis.seed}), stratified by class, that draws whole patients or lesions if cases "
                    "come in groups. For more than two classes, AUC, average precision, sensitivity, specificity and "
                    "G-mean are means of each class against the rest."
                ),
                *_tested(chapters),
            ),
        ),
    )


_NAMED: Mapping[Named, str] = {
    "beforehand": "was named before the numbers were seen",
    "default": "is the default",
    "report": "was given to this report; the runs do not record whether that was before the numbers were seen",
}


def _tested(chapters: list[Chapter]) -> tuple[Paragraph, ...]:
    """Paragraph on the tests and the origin of their reference; none if nothing was tested."""
    tested = [chapter.comparison for chapter in chapters if chapter.comparison.tests]
    if not tested:
        return ()
    references = formatting.listed(dict.fromkeys(str(comparison.reference) for comparison in tested))
    return (
        Paragraph(
            f"The reference, {references}, {_NAMED[tested[0].named]}. Tests are paired, on the same cases, and of "
            "the mean over the seeds; over folds the resampled t-test is corrected for the cases that the folds share; "
            "all are corrected for their number by Holm's method."
        ),
    )
