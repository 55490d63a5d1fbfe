"""Whether the volumes of a column lie alike: their headers, one against the others, before any voxel is read."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import pandas as pd

from mmfusion.data.images.orientation import extreme_axis
from mmfusion.data.images.source import Source
from mmfusion.data.images.sources import Found
from mmfusion.data.images.stack import StackSource
from mmfusion.data.images.threads import in_threads
from mmfusion.data.images.volumes import Axes, VolumeSource

T = TypeVar("T")
_SHARE, _FEWEST = 0.75, 3
"""Where only shapes tell which axis is that of the slices, so many of so many files must agree on it."""
_SHOWN = 10


@dataclass(frozen=True)
class AxesSurvey:
    """What the headers of a table's volumes say of their axes.

    Attributes:
        sources: Those of the table, the volumes with the orientation that most files of their column have.
        notes: A line for each column whose files differ in what is no fault.
        faults: A line for each file whose axes are others than those of the rest of its column.
    """

    sources: Mapping[str, Source]
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


@dataclass
class _Column:
    """The files of a column, by position those of ``axes``."""

    name: str
    rows: list[str] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    axes: list[Axes] = field(default_factory=list)

    def listed(self, positions: Iterable[int]) -> str:
        """The rows of some files."""
        rows = list(dict.fromkeys(self.rows[i] for i in positions))
        return ", ".join(rows[:_SHOWN]) + (f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else "")


def survey_axes(
    sources: Mapping[str, Source], frame: pd.DataFrame, found: Found, threads: int | None = None
) -> AxesSurvey:
    """Compare the axes of each column's volumes, and have those be turned that run otherwise than most.

    A column whose source names an orientation was compared before, or its user knows better: it stays as it is. Files
    whose header cannot be read are left to the reading, which names them.

    Args:
        sources: Where each modality's images are.
        frame: One row per case.
        found: Their files.
        threads: As many headers are read at once.
    """
    turned: dict[str, Source] = {}
    notes: list[str] = []
    faults: list[str] = []
    for name, source in sources.items():
        turned[name] = source
        if not isinstance(source, VolumeSource) or source.orientation is not None:
            continue
        column = _read(source, source.column, frame, found.paths[name], threads)
        most = _most([one.directions for one in column.axes if one.directions is not None])
        if most is None:
            faults += _misplaced(column)
            continue
        others = [i for i, one in enumerate(column.axes) if one.directions not in (None, most)]
        unknown = [i for i, one in enumerate(column.axes) if one.directions is None]
        if others:
            notes.append(
                f"Most volumes of column {source.column!r} run {most} by their headers, other ones do not: "
                f"row {column.listed(others)}. They are turned to it."
            )
        if unknown:
            notes.append(
                f"Volumes of column {source.column!r} have headers without directions: row {column.listed(unknown)}. "
                f"They are taken to run {most} as the others do."
            )
        turned[name] = replace(source, orientation=most)
        if others:
            column = _read(replace(source, orientation=most), source.column, frame, found.paths[name], threads)
        faults += _misplaced(column)
    several = {s.column: s.orientation for s in turned.values() if isinstance(s, VolumeSource) and s.orientation}
    if len(set(several.values())) > 1:
        said = ", ".join(f"{column!r} {orientation}" for column, orientation in several.items())
        notes.append(f"A case's volumes run in other directions by column ({said}): they do not lie on each other.")
    return AxesSurvey(turned, tuple(notes), tuple(faults))


def axes_notes(sources: Mapping[str, Source], frame: pd.DataFrame, found: Found) -> list[str]:
    """A line for each modality of a published dataset with volumes that run otherwise than most; nothing is turned."""
    notes = []
    for name, source in sources.items():
        volume = source.volume if isinstance(source, StackSource) else source
        if not isinstance(volume, VolumeSource) or volume.orientation is not None:
            continue
        column = _read(volume, name, frame, found.paths[name], None, source.files)
        most = _most([one.directions for one in column.axes if one.directions is not None])
        others = [i for i, one in enumerate(column.axes) if one.directions not in (None, most)]
        if others:
            notes.append(
                f"Most volumes of {name!r} run {most} by their headers, other ones do not: "
                f"row {column.listed(others)}. They are read as they are."
            )
    return notes


def _read(
    source: VolumeSource,
    name: str,
    frame: pd.DataFrame,
    paths: Sequence[Path | None],
    threads: int | None,
    files: Callable[[Path], tuple[Path, ...]] = lambda path: (path,),
) -> _Column:
    tasks = [(str(row), file) for row, path in zip(frame.index, paths) if path is not None for file in files(path)]

    def look(task: tuple[str, Path]) -> Axes | None:
        try:
            return source.axes_of(task[1])
        except (OSError, ValueError):
            return None

    column = _Column(name)
    for (row, path), axes in zip(tasks, in_threads(look, tasks, threads)):
        if axes is not None:
            column.rows.append(row)
            column.paths.append(path)
            column.axes.append(axes)
    return column


def _most(values: Iterable[T]) -> T | None:
    """The most frequent value, the first of several; None if there is none."""
    counts = Counter(values).most_common(1)
    return counts[0][0] if counts else None


def _misplaced(column: _Column) -> list[str]:
    """A line for each file that is resized with its axes exchanged against those of the others."""
    thick = [extreme_axis(one.spacing, largest=True) if _is_noted(one.spacing) else -1 for one in column.axes]
    short = [extreme_axis(one.shape, largest=False) for one in column.axes]
    by_spacing = _most([axis for axis in thick if axis >= 0])
    told = [s for s, t in zip(short, thick) if s >= 0 and t < 0]
    by_shape = _most(told)
    if len(told) < _FEWEST or told.count(by_shape if by_shape is not None else -1) < _SHARE * len(told):
        by_shape = None
    shape = _most([one.shape for one in column.axes])
    usual = shape is not None and 2 * sum(one.shape == shape for one in column.axes) >= len(column.axes)
    faults = []
    for i, one in enumerate(column.axes):
        why = None
        if by_spacing is not None and thick[i] not in (-1, by_spacing):
            why = (
                f"its spacing {_shown(one.spacing)} is largest along {_AXES[thick[i]]}, "
                f"that of most others along {_AXES[by_spacing]}"
            )
        elif usual and shape is not None and one.shape != shape and sorted(one.shape) == sorted(shape):
            why = f"its shape {_shown(one.shape)} is that of most others, {_shown(shape)}, with axes exchanged"
        elif by_shape is not None and thick[i] < 0 and short[i] not in (-1, by_shape):
            why = (
                f"its shape {_shown(one.shape)} is shortest along {_AXES[short[i]]}, "
                f"that of most others along {_AXES[by_shape]}"
            )
        if why is not None:
            faults.append(
                f"row {column.rows[i]}: {column.paths[i]} (by height, width and slices, {why}: resized, it would not "
                f"lie as the other volumes of column {column.name!r}; store it as those are, or, if headers and shapes "
                "are right, give the directions, as in --set data.orientation=RAS, or take all files as they are, by "
                "--set data.orientation=file)"
            )
    return faults


_AXES = ("the height", "the width", "the slices")


def _is_noted(spacing: Sequence[float]) -> bool:
    """Whether a header has distances, not what is left of them."""
    return all(0 < value < math.inf for value in spacing)


def _shown(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)
