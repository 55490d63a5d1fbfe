"""All checks of a dataset."""

from collections.abc import Mapping, Sequence

from mmfusion.data.checks.acquisition import acquisition_findings
from mmfusion.data.checks.checked_cases import Cohort
from mmfusion.data.checks.class_counts import class_findings
from mmfusion.data.checks.duplicates import duplicate_findings
from mmfusion.data.checks.finding import Finding
from mmfusion.data.checks.identifiers import identifier_findings
from mmfusion.data.checks.image_files import ImageFile
from mmfusion.data.checks.no_measurements import cell_findings
from mmfusion.data.checks.sites import site_findings
from mmfusion.data.images.source import Source


def examine(cohort: Cohort, files: Sequence[ImageFile], sources: Mapping[str, Source]) -> tuple[Finding, ...]:
    """Everything in a dataset that could mislead a model, or a reader of its results; never an error.

    Args:
        cohort: The rows.
        files: Their image files, read once.
        sources: By modality.
    """
    return (
        *duplicate_findings(cohort, files),
        *identifier_findings(cohort),
        *acquisition_findings(cohort, files, sources),
        *site_findings(cohort),
        *cell_findings(cohort),
        *class_findings(cohort),
    )
