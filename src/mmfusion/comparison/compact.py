"""Finished runs made small: what a report is made of, and nothing that is trained or that belongs to one machine."""

import gzip
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mmfusion.comparison.collect import Skipped, collect
from mmfusion.comparison.finished_run import FinishedRun
from mmfusion.comparison.reading import find, text
from mmfusion.experiments import folder
from mmfusion.experiments.file_digests import CONTENT
from mmfusion.experiments.sharing import without_folders
from mmfusion.training.result_files import write_bytes, write_json

SPLITS = "splits"
"""Folder of the splits, each once, under a name made of its content."""

# Of the form that pandas takes: relative, so that the small probabilities of rare classes keep their order.
_DIGITS = "%.5g"

_COMPRESSED = (folder.HISTORY, folder.ROBUSTNESS)


@dataclass(frozen=True)
class Kept:
    """What was made small.

    Attributes:
        folders: One a run.
        skipped: Folders that were left out, with their reasons.
        size: Bytes of all files written.
    """

    folders: tuple[Path, ...]
    skipped: tuple[Skipped, ...]
    size: int


def compact(paths: Sequence[str | Path], out: str | Path, *, subgroups: bool = False) -> Kept:
    """Copy of finished runs what a report needs, small enough to be committed or attached to a paper.

    Kept are settings, metrics and environment, and compressed the history, robustness, splits, and the predictions with
    five significant digits; no weights. Of a path the last part alone is kept, so that nothing is told of the machine;
    which table, split and plug-ins a run read, the metrics say by digests.
    A sweep that has its ``--out`` there, or in a copy, counts these runs as finished.

    Args:
        paths: Run folders, or folders with such somewhere below.
        out: Folder that gets each run at its place relative to the one of ``paths`` that it is in.
        subgroups: Keep each held-out case's sex, age band and so on too. They are what patients are known by, so they
            are not kept unless you ask for them.

    Returns:
        What was written. Files are the same bytes whenever they are made from the same runs.

    Raises:
        ValueError: If there is no finished run, another one stands where one of them goes, or two go to the same place.
        FileExistsError: If ``out`` is a file.
        mmfusion.training.result_files.WriteError: If a file cannot be written.
    """
    found = collect(paths)
    if not found.runs:
        reasons = "".join(f"; {one.folder}: {one.reason}" for one in found.skipped)
        raise ValueError(f"no finished run in {', '.join(map(str, paths))}{reasons}")
    out = Path(out)
    if out.is_file():
        raise FileExistsError(f"{out} is a file: choose another folder with --out")
    places = [out / _relative(run.folder, paths) for run in found.runs]
    taken: dict[Path, Path] = {}
    for run, place in zip(found.runs, places, strict=True):
        _check(run, place)
        if (other := taken.setdefault(place, run.folder)) != run.folder:
            raise ValueError(
                f"{other} and {run.folder} would both go to {place}: give each a folder of its own with --out"
            )
    names = (*_COMPRESSED, *[folder.SUBGROUPS] * subgroups)
    size = sum(_keep(run, place, out, names) for run, place in zip(found.runs, places, strict=True))
    return Kept(tuple(places), found.skipped, size)


def _relative(place: Path, paths: Sequence[str | Path]) -> Path:
    """From the innermost of the given folders; of a run that was given itself its name."""
    for parent in place.parents:
        if any(Path(path) == parent for path in paths):
            return place.relative_to(parent)
    return Path(place.name)


def _check(run: FinishedRun, place: Path) -> None:
    if place.resolve() == run.folder.resolve():
        raise ValueError(f"{place} is where the run is: choose another folder with --out")
    if find(place, folder.SETTINGS) is None:
        return
    alike = _read(place, folder.SETTINGS) == _read(run.folder, folder.SETTINGS)
    if alike and find(place, folder.METRICS) is not None:
        # The same path may be that of another table by now.
        alike = _read(place, folder.METRICS).get(CONTENT) == run.metrics.get(CONTENT)
    if not alike:
        raise ValueError(f"{place} holds another run than {run.folder}: choose another folder with --out")


def _keep(run: FinishedRun, place: Path, out: Path, names: Sequence[str]) -> int:
    place.mkdir(parents=True, exist_ok=True)
    written = [_write_json(place, folder.SETTINGS, _read(run.folder, folder.SETTINGS))]
    if find(run.folder, folder.ENVIRONMENT) is not None:
        environment = _read(run.folder, folder.ENVIRONMENT)
        # Of the process that a sweep begins; it says nothing that the settings do not say.
        environment.pop("command", None)
        written.append(_write_json(place, folder.ENVIRONMENT, environment))
    there = [name for name in names if find(run.folder, name) is not None]
    written += [_compress(place / f"{name}.gz", text(run.folder, name)) for name in there]
    if find(run.folder, folder.SPLITS) is not None:
        content = text(run.folder, folder.SPLITS)
        path = out / SPLITS / f"{hashlib.sha256(content.encode()).hexdigest()[:10]}.csv.gz"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            written.append(_compress(path, content))
    written.append(_compress(place / f"{folder.PREDICTIONS}.gz", _rounded(text(run.folder, folder.PREDICTIONS))))
    # Last: it marks the run as finished.
    written.append(_write_json(place, folder.METRICS, _read(run.folder, folder.METRICS)))
    return sum(path.stat().st_size for path in written)


def _read(place: Path, name: str) -> Any:
    return without_folders(json.loads(text(place, name)))


def _rounded(table: str) -> str:
    # Text but for the probabilities: 007 is not 7.
    frame = pd.read_csv(io.StringIO(table), dtype=str, keep_default_na=False)
    probabilities = [column for column in frame.columns if column.startswith("prob_")]
    frame = frame.astype(dict.fromkeys(probabilities, "float64"))
    return frame.to_csv(index=False, float_format=_DIGITS, lineterminator="\n")


def _write_json(place: Path, name: str, content: Any) -> Path:
    write_json(place / name, content)
    return place / name


def _compress(path: Path, content: str) -> Path:
    # Without the hour, so that the same content is the same file.
    write_bytes(path, gzip.compress(content.encode("utf-8"), 9, mtime=0))
    return path
