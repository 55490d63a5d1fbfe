"""How images were acquired and stored: properties of the files compared with the classes, and with each other."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfusion.data.checks.checked_cases import Cohort, leak_findings
from mmfusion.data.checks.finding import Finding, in_rows
from mmfusion.data.checks.image_files import ImageFile
from mmfusion.data.images.source import Source, of_case
from mmfusion.data.images.stack import StackSource
from mmfusion.data.images.volumes import VolumeSource

_QUESTION = "A model may recognize the file instead of the disease"
_FIX = "Compare the classes within one source of files, or convert all files in the same way"
_SPACING = 1.1
"""Ratio of the largest to the smallest spacing along an axis from which volumes are called different."""


def acquisition_findings(cohort: Cohort, files: Sequence[ImageFile], sources: Mapping[str, Source]) -> list[Finding]:
    """Findings on the properties of image files: those that distinguish classes, and spacings that differ.

    Args:
        cohort: The rows.
        files: All image files.
        sources: By modality.
    """
    findings: list[Finding] = []
    for name, source in sources.items():
        of_modality = [file for file in files if file.modality == name]
        table = _properties(cohort, of_modality, counted=source.bag > 1)
        columns = {column: f"{source.column}: {column}" for column in table.columns}
        findings += leak_findings(cohort, "files", table.rename(columns=columns), _QUESTION, _FIX)
        of_files = _of_files(of_modality)
        findings += _spacings(source.column, of_files, resampled=_is_resampled(source))
        findings += _mixed(source.column, of_files)
    return findings


def _properties(cohort: Cohort, files: Sequence[ImageFile], *, counted: bool) -> pd.DataFrame:
    """One row per case and one column per property, missing where the case lacks the image.

    Args:
        cohort: The rows.
        files: Of one modality.
        counted: Whether the number of images of a case is a property.
    """
    by_case: dict[int, list[ImageFile]] = {}
    for file in files:
        by_case.setdefault(file.position, []).append(file)
    together = {position: of_case([file.properties for file in of_one]) for position, of_one in by_case.items()}
    table = pd.DataFrame(index=cohort.frame.index)
    for name in dict.fromkeys(name for file in files for name in file.properties):
        cells = np.full(len(table), None, dtype=object)
        for position, properties in together.items():
            if name in properties:
                cells[position] = properties[name]
        table[name] = _column(cells)
    if counted:
        table["number of images"] = [float(len(by_case.get(position, ()))) for position in range(len(table))]
    return table


def _of_files(files: Sequence[ImageFile]) -> pd.DataFrame:
    """One row per file, labeled as its case's, and one column per property."""
    table = pd.DataFrame(index=pd.Index([file.row for file in files], dtype=object))
    for name in dict.fromkeys(name for file in files for name in file.properties):
        table[name] = _column(np.array([file.properties.get(name) for file in files], dtype=object))
    return table


def _column(cells: NDArray[Any]) -> Any:
    return pd.to_numeric(cells) if all(isinstance(cell, float | None) for cell in cells) else cells


def _is_resampled(source: Source) -> bool:
    """Whether all volumes are brought to one spacing."""
    volume = source.volume if isinstance(source, StackSource) else source
    return isinstance(volume, VolumeSource) and volume.resample


def _spacings(column: str, table: pd.DataFrame, *, resampled: bool) -> list[Finding]:
    """A finding if voxels differ in size: after resizing, one structure has several sizes."""
    names = [name for name in map(str, table) if name.startswith("spacing of ")]
    differing = []
    rows: dict[object, None] = {}
    for name in names:
        values = table[name].astype(float)
        values = values[np.isfinite(values) & (values > 0)]
        if len(values) and values.max() > _SPACING * values.min():
            differing.append(f"{name.removeprefix('spacing of ')} {values.min():.3g} to {values.max():.3g}")
            usual = float(values.median())
            rows |= dict.fromkeys(values.index[np.maximum(values / usual, usual / values) > _SPACING].tolist())
    if not differing or resampled:
        return []
    text = (
        f"volumes of column {column!r} differ in spacing: {', '.join(differing)}; unlike most: {in_rows(tuple(rows))}"
    )
    fix = "Resized to one shape, a structure has several sizes: give one spacing, as in spacing=[1, 1, 1]"
    return [Finding("spacings", text, fix, tuple(rows))]


def _mixed(column: str, table: pd.DataFrame) -> list[Finding]:
    """Findings if files have several kinds of pixels: some grey, some in color, or of another depth."""
    findings = []
    for name in ("pixels", "voxels"):
        counts = table[name].value_counts() if name in table else pd.Series(dtype=int)
        if len(counts) > 1:
            others = table.index[table[name].notna() & (table[name] != counts.index[0])]
            rare = tuple(dict.fromkeys(others.tolist()))
            listing = ", ".join(f"{kind} {n}" for kind, n in counts.items())
            text = f"files of column {column!r} have several kinds of {name}: {listing}; other than {counts.index[0]}: "
            findings.append(
                Finding("files", text + in_rows(rare), "Convert them to one kind if classes or sets differ in it", rare)
            )
    return findings
