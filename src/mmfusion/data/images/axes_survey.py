"""Orientation of a column's volumes: headers compared with each other before any voxel is read."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import pandas as pd

from mmfusion.data.images.orientation import extreme_axis
from mmfusion.data.images.source import Source
from mmfusion.data.images.sources import ImageFiles
from mmfusion.data.images.stack import StackSource
from mmfusion.data.images.threads import in_threads
from mmfusion.data.images.volumes import Axes, VolumeSource

T = TypeVar("T")
_SHARE, _FEWEST = 0.75, 3
"""Where only shapes show which axis is that of the slices: the share of files that must agree, and the fewest files."""
_SHOWN = 10


@dataclass(frozen=True)
class AxesSurvey:
    """Result of comparing the headers of a table's volumes.

    Attributes:
        sources: Sources by modality; volumes have the orientation of most files in their column.
        notes: One line per column whose files differ without a fault.
        faults: One line per file whose axes differ from those of the rest of its column.
    """

    sources: Mapping[str, Source]
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


class _File(NamedTuple):
    """A file of a column: its row, its path, its axes."""

    row: str
    path: Path
    axes: Axes


def survey_axes(sources: Mapping[str, Source], frame: pd.DataFrame, files: ImageFiles) -> AxesSurvey:
    """Compare the axes of each column's volumes, and turn volumes that run in other directions than most.

    A column whose source has an orientation already is left as it is. Files whose header cannot be read are left to
    the decoder, whose error names them.

    Args:
        sources: Where each modality's images are.
        frame: One row per case.
        files: The image files of the table.
    """
    turned: dict[str, Source] = {}
    notes: list[str] = []
    faults: list[str] = []
    for name, source in sources.items():
        turned[name] = source
        if not isinstance(source, VolumeSource) or source.orientation is not None:
            continue
        files_of_column = _read(source, frame, files.paths[name])
        most = _usual_directions(files_of_column)
        if most is not None:
            others, unknown = _other_rows(files_of_column, most)
            if others:
                notes.append(
                    f"By their headers, most volumes of column {source.column!r} have orientation {most}. Others do "
                    f"not, and are turned to it: row {others}."
                )
            if unknown:
                notes.append(
                    f"Volumes of column {source.column!r} have headers without an orientation: row {unknown}. They "
                    f"are assumed to have {most}, as the others."
                )
            turned[name] = source = replace(source, orientation=most)
            if others:
                files_of_column = _read(source, frame, files.paths[name])
        faults += _misplaced(source.column, files_of_column)
    several = {s.column: s.orientation for s in turned.values() if isinstance(s, VolumeSource) and s.orientation}
    if len(set(several.values())) > 1:
        listing = ", ".join(f"{column!r} {orientation}" for column, orientation in several.items())
        notes.append(
            f"Columns of volumes differ in orientation ({listing}): the volumes of a case are not aligned with each "
            "other."
        )
    return AxesSurvey(turned, tuple(notes), tuple(faults))


def axes_notes(sources: Mapping[str, Source], frame: pd.DataFrame, files: ImageFiles) -> list[str]:
    """One line per modality of a published dataset whose volumes differ in orientation; nothing is turned."""
    notes = []
    for name, source in sources.items():
        volume = source.volume if isinstance(source, StackSource) else source
        if not isinstance(volume, VolumeSource) or volume.orientation is not None:
            continue
        files_of_column = _read(volume, frame, files.paths[name], source.files)
        most = _usual_directions(files_of_column)
        others = None if most is None else _other_rows(files_of_column, most)[0]
        if others:
            notes.append(
                f"By their headers, most volumes of {name!r} have orientation {most}. Others do not, and are read as "
                f"they are: row {others}."
            )
    return notes


def _read(
    source: VolumeSource,
    frame: pd.DataFrame,
    paths: Sequence[tuple[Path, ...]],
    files: Callable[[Path], tuple[Path, ...]] = lambda path: (path,),
) -> list[_File]:
    tasks = [(str(row), file) for row, of_row in zip(frame.index, paths) for path in of_row for file in files(path)]

    def read(task: tuple[str, Path]) -> _File | None:
        try:
            return _File(*task, source.axes_of(task[1]))
        except (OSError, ValueError):
            return None

    return [file for file in in_threads(read, tasks) if file is not None]


def _usual_directions(files: Sequence[_File]) -> str | None:
    """The most frequent directions in the headers; None if no header has any."""
    return _most_frequent([file.axes.directions for file in files if file.axes.directions is not None])


def _other_rows(files: Sequence[_File], directions: str) -> tuple[str, str]:
    """The rows of files with other directions, and of those without, as texts; empty if there are none."""
    others = [file.row for file in files if file.axes.directions not in (None, directions)]
    return _listed(others), _listed([file.row for file in files if file.axes.directions is None])


def _listed(rows: Iterable[str]) -> str:
    rows = list(dict.fromkeys(rows))
    return ", ".join(rows[:_SHOWN]) + (f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else "")


def _most_frequent(values: Iterable[T]) -> T | None:
    """The most frequent value, of several the first; None without values."""
    counts = Counter(values).most_common(1)
    return counts[0][0] if counts else None


def _misplaced(column: str, files: Sequence[_File]) -> list[str]:
    """One line per file whose axes are exchanged compared with the others of its column."""
    thick = [extreme_axis(axes.spacing, largest=True) if _is_valid(axes.spacing) else -1 for _, _, axes in files]
    short = [extreme_axis(axes.shape, largest=False) for _, _, axes in files]
    by_spacing = _most_frequent([axis for axis in thick if axis >= 0])
    by_shortest = [s for s, t in zip(short, thick) if s >= 0 and t < 0]
    by_shape = _most_frequent(by_shortest)
    if len(by_shortest) < _FEWEST or sum(axis == by_shape for axis in by_shortest) < _SHARE * len(by_shortest):
        by_shape = None
    shape = _most_frequent([axes.shape for _, _, axes in files])
    usual = 2 * sum(axes.shape == shape for _, _, axes in files) >= len(files)
    faults = []
    for i, (row, path, axes) in enumerate(files):
        reason = None
        if by_spacing is not None and thick[i] not in (-1, by_spacing):
            reason = (
                f"its spacing {_shown(axes.spacing)} is largest along {_AXES[thick[i]]}, "
                f"that of most others along {_AXES[by_spacing]}"
            )
        elif usual and shape is not None and axes.shape != shape and sorted(axes.shape) == sorted(shape):
            reason = f"its shape {_shown(axes.shape)} is that of most others, {_shown(shape)}, with axes exchanged"
        elif by_shape is not None and thick[i] < 0 and short[i] not in (-1, by_shape):
            reason = (
                f"its shape {_shown(axes.shape)} is shortest along {_AXES[short[i]]}, "
                f"that of most others along {_AXES[by_shape]}"
            )
        if reason is not None:
            faults.append(
                f"row {row}, column {column!r}: {path} (in the order height, width, slices, {reason}: after "
                f"resizing it would not be aligned with the other volumes of the column; store it with "
                "their order of axes, or, if headers and shapes are right, give an orientation "
                "(orientation='RAS'), or read all files as they are stored (orientation='file'))"
            )
    return faults


_AXES = ("the height", "the width", "the slices")


def _is_valid(spacing: Sequence[float]) -> bool:
    """Whether a header's spacing is positive and finite."""
    return all(0 < value < math.inf for value in spacing)


def _shown(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)
