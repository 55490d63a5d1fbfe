"""Finished runs, found below folders; whatever cannot be used is named, with its reason, and left out."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mmfusion.comparison.finished_run import FinishedRun, complete
from mmfusion.comparison.reading import read
from mmfusion.experiments import folder

_LONGEST = 500
_MARKS = (folder.SETTINGS, folder.PREDICTIONS, folder.METRICS)


@dataclass(frozen=True)
class Skipped:
    """A folder that was left out.

    Attributes:
        folder: Which.
        reason: Why.
    """

    folder: Path
    reason: str


@dataclass(frozen=True)
class Collection:
    """What lies below some folders.

    Attributes:
        runs: Finished ones, by folder.
        skipped: The others.
    """

    runs: tuple[FinishedRun, ...]
    skipped: tuple[Skipped, ...]


def collect(paths: Iterable[str | Path]) -> Collection:
    """Read all runs in or below some folders.

    Args:
        paths: Run folders, or folders with such somewhere below.

    Returns:
        The runs, and what was left out: a folder that is unfinished, of another version, without a file that is
        needed, with one that cannot be read, or with the same settings and test cases as an earlier one but for what
        changes no prediction: a seed that is counted twice would be no second seed.
    """
    runs: list[FinishedRun] = []
    skipped: list[Skipped] = []
    seen: dict[tuple[str, frozenset[tuple[str, str, int]]], Path] = {}
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            skipped.append(Skipped(path, "there is no such folder"))
            continue
        for place in _folders(path, skipped):
            found.setdefault(place.resolve(), place)
    for place in sorted(found.values()):
        try:
            run = read(place)
        except (ValueError, OSError, EOFError) as error:
            skipped.append(Skipped(place, _brief(error)))
            continue
        # The cases too: a run may not say of which version of a file it is.
        address = json.dumps([run.row, run.classes, complete(run)], sort_keys=True), run.test.told
        if address in seen:
            skipped.append(Skipped(place, f"it has the same settings as {seen[address]}, which is taken"))
            continue
        seen[address] = place
        runs.append(run)
    return Collection(tuple(runs), tuple(skipped))


def _brief(error: Exception) -> str:
    """One line, whatever a damaged file makes an error quote."""
    line = " ".join(str(error).split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ..."


def _folders(path: Path, skipped: list[Skipped]) -> list[Path]:
    """Folders in or below a path that hold a run or the beginnings of one."""

    def refused(error: OSError) -> None:
        skipped.append(Skipped(Path(error.filename or path), f"it cannot be read: {error.strerror}"))

    found = []
    for place, _, names in os.walk(path, onerror=refused):
        if any(mark in names or f"{mark}.gz" in names for mark in _MARKS):
            found.append(Path(place))
    return found
