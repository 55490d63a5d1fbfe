"""Whether a run's files and cases are still those that it began with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmfusion.data.cases import CaseDataset
from mmfusion.experiments import case_file, file_digests, folder, predictions, survey
from mmfusion.experiments.settings import Settings
from mmfusion.spec import DataSpec


def recorded(out: Path) -> Mapping[str, Any]:
    """Digests of the files and cases; empty for runs of former versions, and for shared ones."""
    read = folder.read_case(out).get(file_digests.CONTENT)
    return read if isinstance(read, dict) else {}


def changed_files(out: Path, settings: Settings) -> list[str]:
    """The files that changed since the run began, in words.

    Args:
        out: The run's folder.
        settings: Its settings, which name the files.
    """
    return file_digests.differences(recorded(out), file_digests.recorded(settings))


def changed_cases(out: Path, datasets: Mapping[str, CaseDataset], spec: DataSpec, digests: survey.Digests) -> list[str]:
    """What is different about the cases since the run began, in words.

    Args:
        out: The run's folder.
        datasets: Its sets by name, as they are now.
        spec: What they are now.
        digests: Of the survey of them.
    """
    splits = predictions.splits(datasets).to_csv(index=False, lineterminator="\n")
    changed = []
    if case_file.read(folder.read_case(out), out / folder.CASE)[0] != spec:
        changed.append(f"its modalities, columns or classes ({folder.CASE})")
    if (out / folder.SPLITS).read_text(encoding="utf-8") != splits:
        changed.append(f"the cases, their groups or the sets that they are in ({folder.SPLITS})")
    return changed + survey.differences(recorded(out).get(file_digests.CASES), digests)
