"""A table of one's own: a column of labels, columns of image files, everything else found out."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd

from mmfusion.data.bundle import DataBundle
from mmfusion.data.datasets.faults import DatasetError, Faults, refuse
from mmfusion.data.datasets.feature_columns import cell_faults, fitted_schema, unseen_notes
from mmfusion.data.datasets.image_columns import Size, modality_name, source_of
from mmfusion.data.datasets.labels import Unlabelled, labelled_rows, lacking_classes, target_of
from mmfusion.data.datasets.plan import Plan, absent_images, cell_lines, cell_notes, leaks, repeated
from mmfusion.data.datasets.split_column import given_split
from mmfusion.data.datasets.table_frame import read_frame
from mmfusion.data.images.axes_survey import survey_axes
from mmfusion.data.images.cache import ImageCache
from mmfusion.data.images.intensity import Intensity, Standardize
from mmfusion.data.images.source import Source
from mmfusion.data.images.sources import Missing, find_images
from mmfusion.data.images.volumes import VolumeSource
from mmfusion.data.reader import CaseReader, Progress
from mmfusion.data.schema.cells import distinct, one_column, require_columns
from mmfusion.data.schema.inference import Override
from mmfusion.data.schema.subgroups import Subgroup, by_columns
from mmfusion.data.schema.table_schema import TableSchema
from mmfusion.data.splits import make_split
from mmfusion.option_checks import checked
from mmfusion.options import Channels, Fold, Folds, Fractions, Interval, Name, Range, Seed
from mmfusion.registry import datasets


class TableDataset:
    """A table of cases, looked through and split, before any image is decoded.

    What the columns are is inferred from all rows, without labels, so that all folds have the same features; statistics
    and vocabularies are learnt from the training rows alone. See :meth:`TableSchema.infer`; :attr:`about` says what was
    found.

    Args:
        table: A DataFrame, or a ``.csv``, ``.tsv`` or ``.parquet`` file.
        label: The column of labels, texts or whole numbers.
        images: Columns with the names of image files, a modality each: photographs, or volumes (``.nii``, ``.nii.gz``),
            told by the names' endings. Empty: the table alone.
        root: The folder that these names are relative to; None: that of the table, or the working folder.
        group: The column of the patient or lesion: a group is never in two parts.
        id: The column with each case's name; None: the number of its row.
        classes: The labels in their order; None: numbers ascend, known scales rise, else by the alphabet.
        unlabelled: What a row without a label is: an error, or left out.
        missing_images: What an image file that is not there, or an empty cell, means: an error, or that the case lacks
            it.
        columns: The only columns that may be features; None: all that are nothing else.
        drop: Columns that are no features.
        overrides: By column, what is known better than it can be told, see :meth:`TableSchema.infer`.
        schema: A TOML file that :meth:`save_schema` wrote: nothing is inferred.
        size: Pixels along each side; or ``(height, width)``; with volumes ``(height, width, slices)``, of which images
            take the first two.
        channels: Of images, 3 or 1.
        range: Of greyscale deeper than 8 bits, the values that become black and white.
        axes: Of volumes, the order of a file's axes, see :class:`~mmfusion.data.images.volumes.VolumeSource`.
        orientation: Of volumes, the directions of height, width and slices, such as ``"RAS"``, to which each file is
            turned by its header; None: those of most files of the column, and one whose slices lie along another axis
            is a fault; ``"file"``: every file is taken as it is.
        clip: Of volumes, smallest and largest intensity that is kept.
        max_bytes: Of memory that one image or volume may take before it is resized; None: 2**29 and 2**31. A larger one
            is a fault of its file.
        standardise: Of volumes, see :class:`~mmfusion.data.images.intensity.Intensity`.
        test: The column that says which rows are tested: train, test and, if there, validation; or true and false; or,
            with ``fold``, the number of the fold.
        fractions: Shares of training, validation and test part; with ``test``, the second against the first.
        split_seed: Of the split.
        folds: Cross-validation with so many folds; see :func:`~mmfusion.data.splits.make.make_split`, as for the next
            two.
        fold: Which of them, from 0; with ``test``, the column's value that is tested.
        split_file: A CSV file that says which case is in which part, by its name.
        subgroups: Columns by which results are told apart, features or not, such as sex or age; a column of more than
            five numbers is cut into thirds of the training part.
        separator: Between the cells of a text file; None: found out.
        encoding: Of a text file; None: UTF-8.

    Raises:
        mmfusion.data.datasets.faults.DatasetError: A ValueError, if an option, the table, its labels, columns, cells or
            split are not as they should be; all faults at once.
        FileNotFoundError: If a file is not there.
    """

    @checked
    def __init__(
        self,
        table: pd.DataFrame | Path | str,
        *,
        label: Name,
        images: Sequence[str] | str = (),
        root: Path | str | None = None,
        group: Name | None = None,
        id: Name | None = None,
        classes: Sequence[str | int | float] | None = None,
        unlabelled: Unlabelled = "error",
        missing_images: Missing = "error",
        columns: Sequence[str] | None = None,
        drop: Sequence[str] = (),
        overrides: Mapping[str, Override] | None = None,
        schema: Path | str | None = None,
        size: Size = 128,
        channels: Channels = 3,
        range: Interval | None = None,
        axes: str = "hws",
        orientation: Name | None = None,
        clip: Interval | None = None,
        max_bytes: Annotated[int, Range(1, 2**50)] | None = None,
        standardise: Standardize = "image",
        test: Name | None = None,
        fractions: Fractions = (0.7, 0.1, 0.2),
        split_seed: Seed = 0,
        folds: Folds | None = None,
        fold: Fold | None = None,
        split_file: Path | str | None = None,
        subgroups: Sequence[str] | str = (),
        separator: Name | None = None,
        encoding: Name | None = None,
    ) -> None:
        faults = Faults()
        frame, folder = read_frame(table, root, separator, encoding, schema, split_file, faults)
        columns_of_images = [images] if isinstance(images, str) else list(images)
        if strangers := sorted({*map(str, overrides or {})} - {*map(str, frame.columns)}):
            faults.append(f"overrides are given for {strangers}; the table's columns are: {_listed(frame.columns)}")
        asked = [label, *columns_of_images, *(name for name in (group, id, test) if name is not None)]
        with faults.caught():
            require_columns(frame, [*asked, *(columns or ()), *drop])
        if label in columns_of_images or label in (columns or ()):
            faults.append(f"the label column {label!r} cannot be an image or a feature too")
        target, left_out = None, 0
        if label in frame.columns:
            with faults.caught():
                frame, left_out = labelled_rows(frame, label, unlabelled)
            with faults.caught():
                labelled = frame[distinct(one_column(frame, label))[0] >= 0]
                target = target_of(labelled, label, classes) if len(labelled) else None
                faults += [] if target is None else target.faults(labelled)
        sources: dict[str, Source] = {}
        if twice := sorted({column for column in columns_of_images if columns_of_images.count(column) > 1}):
            faults.append(f"image columns are named more than once: {twice}")
        for column in dict.fromkeys(columns_of_images):
            if column in frame.columns:
                with faults.caught():
                    modality = modality_name(column, sources)
                    sources[modality] = source_of(
                        frame, column, size, channels, range, axes, orientation, clip, max_bytes
                    )
        axes_notes: tuple[str, ...] = ()
        volumes = any(isinstance(source, VolumeSource) for source in sources.values())
        if volumes and orientation is None and folder.is_dir():
            survey = survey_axes(sources, frame, find_images(sources, frame, folder))
            sources, axes_notes = dict(survey.sources), survey.notes
            faults += survey.faults
        twins = repeated(frame, id) if id is not None and id in frame.columns else []
        faults += twins
        ids, groups = CaseReader({}, id_column=id, group_column=group).names(frame)
        if twins and group is None:
            groups = [str(row) for row in np.arange(len(frame))]  # that these share a group is not another fault
        codes = np.zeros(len(frame), dtype=np.int64)
        if label in frame.columns:
            codes = np.maximum(distinct(one_column(frame, label))[0], 0)
        split = None
        if test is None or test in frame.columns:
            with faults.caught():
                split = (
                    make_split(
                        codes,
                        groups,
                        ids,
                        fractions=fractions,
                        seed=split_seed,
                        folds=folds,
                        fold=fold,
                        file=split_file,
                    )
                    if test is None
                    else given_split(frame, test, codes, groups, fractions, split_seed, fold, folds, split_file)
                )
        rows = np.arange(len(frame)) if split is None else split.train
        others = [*asked, *drop, *(name for name in frame.columns if columns is not None and name not in columns)]
        others = [name for name in dict.fromkeys(others) if name in frame.columns]
        told = {name: one for name, one in (overrides or {}).items() if name in frame.columns and name not in others}
        found: TableSchema | None = None
        bands: tuple[Subgroup, ...] = ()
        if schema is not None and overrides:
            faults.append("the columns are read from a schema file: edit it in place of giving overrides")
        with faults.caught():
            found = fitted_schema(frame, rows, others, told, schema, bool(sources))
        if found is not None and schema is not None:
            faults += cell_faults(frame, found)
        with faults.caught():
            names = [subgroups] if isinstance(subgroups, str) else list(subgroups)
            bands = by_columns(names, frame, frame.iloc[rows])
        if faults or target is None or split is None:
            absent = absent_images(sources, frame, folder) if missing_images == "error" and folder.is_dir() else []
            refuse("the table", faults, absent)
            raise DatasetError("the table", [f"label column {label!r} is empty in every row"])
        labels = target.encode(frame).numpy()
        reader = CaseReader(
            targets={"label": target},
            images=sources,
            id_column=id,
            group_column=group,
            intensities={
                name: Intensity(standardise)
                for name, source in sources.items()
                if isinstance(source, VolumeSource) and standardise != "none"
            },
        )
        train = frame.iloc[split.train]
        # What a file says of its own rows is not known of these.
        read = schema is not None
        self.plan = Plan(
            "table",
            frame,
            folder,
            replace(reader, schema=found),
            split,
            notes=(
                *([f"{left_out} row(s) without a label were left out."] if left_out else ()),
                *axes_notes,
                *lacking_classes(target, labels, split),
                *(() if group or not _repeats(frame) else (_NO_GROUP,)),
                *([] if found is None else [f"Look at this: {remark}." for remark in found.remarks_without_cells]),
                *(cell_notes(found, frame) if read else ()),
                *unseen_notes(found, frame),
                *leaks(found, train, labels[split.train], target.classes, [groups[i] for i in split.train]),
            ),
            fold=fold or 0,
            missing_images=missing_images,
            subgroups=bands,
        )
        self._cells = cell_lines(found, frame) if read else ""
        self.plan = replace(self.plan, about=self.about)

    @property
    def schema(self) -> TableSchema | None:
        """The fitted columns; None where there is none."""
        return self.plan.reader.schema

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the results must know."""
        return self.plan.notes

    @property
    def about(self) -> str:
        """What was found in the table, in lines: labels, images, parts, columns."""
        plan = self.plan
        lines = []
        for part, counts in plan.counts()["label"].items():
            lines.append(
                f"{part:<10}  {sum(counts.values())} cases: " + ", ".join(f"{k} {n}" for k, n in counts.items())
            )
        for name, source in plan.reader.images.items():
            shape = "x".join(map(str, source.spec.size))
            kind = "volumes" if isinstance(source, VolumeSource) else "images"
            runs = source.orientation if isinstance(source, VolumeSource) else None
            lines.append(
                f"{name:<10}  {kind} of column {source.column!r}, {source.spec.channels} x {shape}"
                + (f", which run {runs}" if runs else "")
            )
        lines.append(plan.reader.schema.describe() if plan.reader.schema else "no column is a feature")
        return "\n".join([*lines, *self._cells.splitlines()])

    def save_schema(self, path: Path | str) -> None:
        """Write the columns as TOML, to be read, edited, and given as ``schema``.

        Raises:
            ValueError: If no column is a feature.
            FileExistsError: If the file is there.
        """
        if self.schema is None:
            raise ValueError("no column of the table is a feature: there is no schema to save")
        self.schema.save(path)

    def load(self, cache: ImageCache | None = None, progress: Progress | None = None) -> DataBundle:
        """Decode the images and give the three parts.

        Raises:
            ValueError: If an image cannot be decoded; names all.
            FileNotFoundError: If images are not there, unless they may be absent.
        """
        return self.plan.load(cache, progress)


def plan(root: Path | str | None = None, **options: Any) -> Plan:
    """The dataset before any image is decoded; the arguments are those of :func:`table`."""
    return _dataset(root, **options).plan


@datasets.register("table")
def table(
    *,
    root: Path | str | None = None,
    table: Path | str | None = None,
    label: Name | None = None,
    images: Sequence[str] | str = (),
    group: Name | None = None,
    id: Name | None = None,
    classes: Sequence[str | int | float] | None = None,
    unlabelled: Unlabelled = "error",
    missing_images: Missing = "error",
    columns: Sequence[str] | None = None,
    drop: Sequence[str] = (),
    overrides: Mapping[str, Override] | None = None,
    schema: Path | str | None = None,
    save_schema: Path | str | None = None,
    size: Size = 128,
    channels: Channels = 3,
    range: Interval | None = None,
    axes: str = "hws",
    orientation: Name | None = None,
    clip: Interval | None = None,
    max_bytes: Annotated[int, Range(1, 2**50)] | None = None,
    standardise: Standardize = "image",
    test: Name | None = None,
    fractions: Fractions = (0.7, 0.1, 0.2),
    split_seed: Seed = 0,
    folds: Folds | None = None,
    fold: Fold | None = None,
    split_file: Path | str | None = None,
    subgroups: Sequence[str] | str = (),
    separator: Name | None = None,
    encoding: Name | None = None,
    cache: ImageCache | None = None,
    progress: Progress | None = None,
) -> DataBundle:
    """A table of one's own, as files.

    The options are those of :class:`TableDataset`; ``save_schema`` is a TOML file to write the inferred columns to,
    ``cache`` keeps decoded images on disk, and ``progress`` is called with the images read so far and their number.

    Returns:
        The three parts; a modality for each image column, under its name; "meta" if there are features; target "label".

    Raises:
        ValueError: As :class:`TableDataset`, or if no table or no label column is given.
        FileNotFoundError: If a file is not there.
    """
    options = dict(locals())
    for name in ("cache", "progress", "save_schema"):
        options.pop(name)
    found = _dataset(**options)
    if save_schema is not None:
        found.save_schema(save_schema)
    return found.load(cache, progress)


def _dataset(root: Path | str | None, table: Path | str | None = None, **options: Any) -> TableDataset:
    needed = []
    if table is None:
        needed.append("a table: --table FILE, a .csv, .tsv or .parquet")
    if options.get("label") is None:
        needed.append("the column of the labels: --label COLUMN")
    if needed or table is None:
        raise ValueError(f"the dataset 'table' needs {'; and '.join(needed)}")
    return TableDataset(table, root=root, **options)


_NO_GROUP = (
    "Every row counts as a patient of its own, since no group column was named: if a patient has several rows, name "
    "it, or the result measures memory."
)


def _repeats(frame: pd.DataFrame) -> bool:
    """Whether a column looks like that of a patient, or some other owner of several rows."""
    named = [name for name in frame.columns if re.search(r"(?i)(patient|subject|lesion|person|case)", str(name))]
    return any(frame[name].duplicated().any() for name in named if isinstance(frame[name], pd.Series))


def _listed(names: Any) -> str:
    return ", ".join(map(str, names))
