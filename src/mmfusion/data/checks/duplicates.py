"""Identical and nearly identical images of different cases."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from mmfusion.data.checks.checked_cases import Cohort
from mmfusion.data.checks.finding import SHOWN, Finding, in_rows, listed
from mmfusion.data.checks.image_files import ImageFile
from mmfusion.data.checks.similarity import similar_pairs

_REMOVE = "Keep one of each, or give such cases one group (group=COLUMN), which is never in two sets"


class _Match(NamedTuple):
    """Two files that show the same image."""

    first: ImageFile
    second: ImageFile
    how: str


def duplicate_findings(cohort: Cohort, files: Sequence[ImageFile]) -> list[Finding]:
    """Findings on images that occur more than once.

    Reported are those of two sets, which make results too good; those of two patients in one set; those of two classes;
    and those of two columns of one case, or identical ones among its several of one column.

    Args:
        cohort: The rows.
        files: All image files; only those with a thumbnail are compared by what they show.
    """
    matches = [*_identical(files), *_similar(files)]
    apart = [match for match in matches if match.first.position != match.second.position]
    sets = [{cohort.sets[match.first.position], cohort.sets[match.second.position]} - {""} for match in apart]
    labels = [{cohort.label(match.first.position), cohort.label(match.second.position)} - {""} for match in apart]
    groups = [cohort.groups[match.first.position] == cohort.groups[match.second.position] for match in apart]
    across = [match for match, of in zip(apart, sets) if len(of) > 1]
    others = [match for match, of, same in zip(apart, sets, groups) if len(of) < 2 and not same]
    conflicts = [match for match, of in zip(apart, labels) if len(of) > 1]
    within = [match for match in matches if match.first.position == match.second.position and _is_fault(match)]
    findings = [
        _finding(cohort, across, "images are in two sets, which makes results too good", _REMOVE),
        _finding(cohort, others, "images belong to different cases or patients of one set", _REMOVE),
        _finding(cohort, conflicts, "images have two different labels", "Correct the label, or the name of the file"),
        _finding(
            cohort,
            within,
            "cases have one image twice, in two columns or among several of one",
            "Correct the name of the file, or leave it out (missing_images='absent' for a cell that is empty then)",
        ),
    ]
    return [finding for finding in findings if finding is not None]


def _is_fault(match: _Match) -> bool:
    """Whether two files of one case should differ: frames of one examination may show nearly the same."""
    return match.first.modality != match.second.modality or (
        match.first.digest is not None and match.first.digest == match.second.digest
    )


def _identical(files: Sequence[ImageFile]) -> list[_Match]:
    """Pairs of files with the same bytes; of many such files, each with the first."""
    by_digest: dict[bytes, list[ImageFile]] = defaultdict(list)
    for file in files:
        if file.digest is not None:
            by_digest[file.digest].append(file)
    return [
        _Match(same[0], other, "the same file" if same[0].path == other.path else "identical content")
        for same in by_digest.values()
        for other in same[1:]
    ]


def _similar(files: Sequence[ImageFile]) -> list[_Match]:
    """Pairs of files that show nearly the same, without those of identical bytes, in each modality."""
    by_modality: dict[str, list[ImageFile]] = defaultdict(list)
    for file in files:
        if file.thumbnail is not None:
            by_modality[file.modality].append(file)
    matches = []
    for of_modality in by_modality.values():
        pairs = similar_pairs(np.stack([file.thumbnail for file in of_modality if file.thumbnail is not None]))
        for pair in pairs:
            first, second = of_modality[pair.first], of_modality[pair.second]
            if first.digest is None or first.digest != second.digest:
                how = f"nearly the same{', mirrored or rotated' * pair.turned}, correlation {pair.correlation:.2f}"
                matches.append(_Match(first, second, how))
    return matches


def _finding(cohort: Cohort, matches: Sequence[_Match], what: str, fix: str) -> Finding | None:
    if not matches:
        return None
    rows = tuple(dict.fromkeys(row for match in matches for row in (match.first.row, match.second.row)))
    pairs = listed(map(_Pairs(cohort), matches[:SHOWN]))
    more = f"; and {len(matches) - SHOWN} more pairs, of {in_rows(rows)}" if len(matches) > SHOWN else ""
    return Finding("duplicates", f"{len(matches)} pair{'s' * (len(matches) > 1)} of {what}: {pairs}{more}", fix, rows)


class _Pairs:
    """Pairs in words."""

    def __init__(self, cohort: Cohort) -> None:
        self._cohort = cohort

    def __call__(self, match: _Match) -> str:
        first, second = match.first, match.second
        return f"{self._file(first)} and {self._file(second)} ({match.how})"

    def _file(self, file: ImageFile) -> str:
        about = [self._cohort.sets[file.position], self._cohort.label(file.position)]
        return f"row {file.row} [{', '.join(_known(about))}] {file.path.name}"


def _known(texts: Iterable[str]) -> list[str]:
    return [text for text in texts if text]
