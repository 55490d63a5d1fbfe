"""Compact copies of finished runs: the files that a report needs, without weights and paths of one machine."""

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
from mmfusion.comparison.reading import find, text
from mmfusion.experiments import folder
from mmfusion.experiments.file_digests import CONTENT
from mmfusion.experiments.sharing import without_folders
from mmfusion.training.result_files import write_bytes, write_json

SPLITS = "splits"
"""Folder of the splits, each once, named by its digest."""

# Significant digits, so that the small probabilities of rare classes keep their order.
_DIGITS = "%.5g"

_COMPRESSED = (folder.HISTORY, folder.ROBUSTNESS)


@dataclass(frozen=True)
class Kept:
    """Result of :func:`compact`.

    Attributes:
        folders: One per run.
        skipped: Folders that were left out, with their reasons.
        size: Bytes of all files written.
    """

    folders: tuple[Path, ...]
    skipped: tuple[Skipped, ...]
    size: int


def compact(paths: Sequence[str | Path], out: str | Path, *, subgroups: bool = False) -> Kept:
    """Copy the files of finished runs that a report needs, small enough to be committed or attached to a paper.

    Settings, metrics and environment are copied; history, robustness, splits, and the predictions with five significant
    digits are compressed; weights are left out. Paths are cut to their last part, so that they reveal nothing about the
    machine; the table, split and plug-ins of a run are identified by digests in its metrics.
    Repeats and trials of settings are copied likewise.
    A sweep whose ``--out`` is this folder, or a copy of it, counts these runs as finished.

    Args:
        paths: Run folders, or folders with run folders below them.
        out: Folder for the copies, each at its path relative to the one of ``paths`` that holds it.
        subgroups: Also copy each held-out case's sex, age band and so on. They can identify patients, so they are left
            out by default.

    Returns:
        The copies. The same runs give the same bytes.

    Raises:
        ValueError: If there is no finished run, a copy's folder holds another run, or two runs have the same folder.
        FileExistsError: If ``out`` is a file.
        mmfusion.training.result_files.WriteError: If a file cannot be written.
    """
    collection = collect(paths)
    if not collection.runs:
        reasons = "".join(f"; {skipped.folder}: {skipped.reason}" for skipped in collection.skipped)
        raise ValueError(f"no finished run in {', '.join(map(str, paths))}{reasons}")
    out = Path(out)
    if out.is_file():
        raise FileExistsError(f"{out} is a file: choose another folder by out=...")
    repeats = [run.folder for runs in collection.repeats.values() for run in runs]
    sources = [*(run.folder for run in collection.runs), *repeats, *collection.trials]
    places = [out / _relative(source, paths) for source in sources]
    taken: dict[Path, Path] = {}
    for source, place in zip(sources, places, strict=True):
        _check(source, place)
        if (other := taken.setdefault(place, source)) != source:
            raise ValueError(
                f"{other} and {source} would both be copied to {place}: give each its own folder by out=..."
            )
    names = (*_COMPRESSED, *[folder.SUBGROUPS] * subgroups)
    size = sum(_keep(source, place, out, names) for source, place in zip(sources, places, strict=True))
    return Kept(tuple(places), collection.skipped, size)


def _relative(place: Path, paths: Sequence[str | Path]) -> Path:
    """Path below the innermost of the given folders; the name of a run folder that was given itself."""
    for parent in place.parents:
        if any(Path(path) == parent for path in paths):
            return place.relative_to(parent)
    return Path(place.name)


def _check(source: Path, place: Path) -> None:
    if place.resolve() == source.resolve():
        raise ValueError(f"{place} is the folder of the run itself: choose another folder by out=...")
    if find(place, folder.SETTINGS) is None:
        return
    alike = _read(place, folder.SETTINGS) == _read(source, folder.SETTINGS)
    if alike and find(place, folder.METRICS) is not None:
        # The table at the same path may have changed.
        alike = _read(place, folder.METRICS).get(CONTENT) == _read(source, folder.METRICS).get(CONTENT)
    if not alike:
        raise ValueError(f"{place} holds a different run than {source}: choose another folder by out=...")


def _keep(source: Path, place: Path, out: Path, names: Sequence[str]) -> int:
    place.mkdir(parents=True, exist_ok=True)
    written = [_write_json(place, folder.SETTINGS, _read(source, folder.SETTINGS))]
    if find(source, folder.ENVIRONMENT) is not None:
        environment = _read(source, folder.ENVIRONMENT)
        # The command line of a sweep's process, which says nothing beyond the settings.
        environment.pop("command", None)
        written.append(_write_json(place, folder.ENVIRONMENT, environment))
    if find(source, folder.TUNING) is not None:
        written.append(_write_json(place, folder.TUNING, _read(source, folder.TUNING)))
    present = [name for name in names if find(source, name) is not None]
    written += [_compress(place / f"{name}.gz", text(source, name)) for name in present]
    if find(source, folder.SPLITS) is not None:
        content = text(source, folder.SPLITS)
        path = out / SPLITS / f"{hashlib.sha256(content.encode()).hexdigest()[:10]}.csv.gz"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            written.append(_compress(path, content))
    written.append(_compress(place / f"{folder.PREDICTIONS}.gz", _rounded(text(source, folder.PREDICTIONS))))
    # Last: it marks the run as finished.
    written.append(_write_json(place, folder.METRICS, _read(source, folder.METRICS)))
    return sum(path.stat().st_size for path in written)


def _read(place: Path, name: str) -> Any:
    return without_folders(json.loads(text(place, name)))


def _rounded(table: str) -> str:
    # All other columns are text: 007 is not 7.
    frame = pd.read_csv(io.StringIO(table), dtype=str, keep_default_na=False)
    probabilities = [column for column in frame.columns if column.startswith("prob_")]
    frame = frame.astype(dict.fromkeys(probabilities, "float64"))
    return frame.to_csv(index=False, float_format=_DIGITS, lineterminator="\n")


def _write_json(place: Path, name: str, content: Any) -> Path:
    write_json(place / name, content)
    return place / name


def _compress(path: Path, content: str) -> Path:
    # Without the time, so that the same content is the same file.
    write_bytes(path, gzip.compress(content.encode("utf-8"), 9, mtime=0))
    return path
