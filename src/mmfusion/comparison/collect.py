"""Finished runs below folders, and the folders that were skipped, each with its reason."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from mmfusion.comparison.finished_run import FinishedRun, complete
from mmfusion.comparison.reading import is_trial, read
from mmfusion.experiments import folder

_Key: TypeAlias = tuple[str, frozenset[tuple[str, str, int]]]

_LONGEST = 500
_MARKS = (folder.SETTINGS, folder.PREDICTIONS, folder.METRICS)


@dataclass(frozen=True)
class Skipped:
    """A folder that was left out.

    Attributes:
        folder: Its path.
        reason: Why it was left out.
    """

    folder: Path
    reason: str


@dataclass(frozen=True)
class Collection:
    """The runs below some folders.

    Attributes:
        runs: Finished runs, by folder.
        skipped: Folders that were left out.
        trials: Folders of finished trials of settings, whose test set was not evaluated: they are no results.
        repeats: By the folder of a run, its repeats from perturbed starts, by number: they are no seeds, and no runs of
            a comparison.
    """

    runs: tuple[FinishedRun, ...]
    skipped: tuple[Skipped, ...]
    trials: tuple[Path, ...] = ()
    repeats: Mapping[Path, tuple[FinishedRun, ...]] = field(default_factory=dict)


def collect(paths: Iterable[str | Path]) -> Collection:
    """Read all runs in or below some folders.

    Args:
        paths: Run folders, or folders with run folders below them.

    Returns:
        The runs, their repeats, the trials of settings, and the folders left out: unfinished, of another version, with
        a missing or unreadable file, a repeat without the run that it repeats, or a duplicate, with the same test cases
        and the same settings, apart from those that change no prediction, as an earlier folder: a seed that is counted
        twice is not a second seed.
    """
    runs: list[FinishedRun] = []
    trials: list[Path] = []
    skipped: list[Skipped] = []
    seen: dict[_Key, Path] = {}
    unique: dict[Path, Path] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            skipped.append(Skipped(path, "the folder does not exist"))
            continue
        for place in _folders(path, skipped):
            unique.setdefault(place.resolve(), place)
    for place in sorted(unique.values()):
        if is_trial(place):
            trials.append(place)
            continue
        try:
            run = read(place)
        except (ValueError, OSError, EOFError) as error:
            skipped.append(Skipped(place, _brief(error)))
            continue
        # With the cases: a run need not record which version of a file it read.
        address = _key(run, run.repeat)
        if address in seen:
            skipped.append(Skipped(place, f"it has the same settings and test cases as {seen[address]}"))
            continue
        seen[address] = place
        runs.append(run)
    repeats: dict[Path, list[FinishedRun]] = {}
    for run in sorted((run for run in runs if run.repeat), key=lambda run: run.repeat):
        if (first := seen.get(_key(run, 0))) is None:
            skipped.append(Skipped(run.folder, f"it is repeat {run.repeat} of a run that is not among the folders"))
        else:
            repeats.setdefault(first, []).append(run)
    return Collection(
        tuple(run for run in runs if not run.repeat),
        tuple(skipped),
        tuple(trials),
        {first: tuple(others) for first, others in repeats.items()},
    )


def _key(run: FinishedRun, repeat: int) -> _Key:
    """Equal for runs with the same test cases and settings, with another number in place of the repeat's."""
    settings = complete(run)
    settings["run"]["repeat"] = repeat
    return json.dumps([run.row, run.classes, settings], sort_keys=True), run.test.records


def _brief(error: Exception) -> str:
    """An error text as one line of limited length: it may quote a damaged file."""
    line = " ".join(str(error).split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ..."


def _folders(path: Path, skipped: list[Skipped]) -> list[Path]:
    """Folders in or below a path that hold a finished or unfinished run."""

    def skip(error: OSError) -> None:
        skipped.append(Skipped(Path(error.filename or path), f"it cannot be read: {error.strerror}"))

    places = []
    for place, _, names in os.walk(path, onerror=skip):
        if any(mark in names or f"{mark}.gz" in names for mark in _MARKS):
            places.append(Path(place))
    return places
