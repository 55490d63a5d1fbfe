"""Datasets from any table: a column of labels, columns of image files, inferred features."""

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
    """A table of cases, checked and split, before any image is decoded.

    Kinds of columns are inferred from all rows, independently of labels, so that all folds have the same features;
    statistics and vocabularies are fitted on the training rows only. See :meth:`TableSchema.infer` and :attr:`about`.

    Args:
        table: A DataFrame, or a ``.csv``, ``.tsv`` or ``.parquet`` file.
        label: The column of labels, texts or whole numbers.
        images: Columns with names of image files, one modality each: photographs, or volumes (``.nii``, ``.nii.gz``),
            by the ending of the names. Empty: only the table.
        root: The folder that these names are relative to; None: that of the table, or the working folder.
        group: The column of the patient or lesion: a group is never in two sets.
        id: The column with each case's name; None: the number of its row.
        classes: The labels in order; None: ascending numbers, known scales, else alphabetical.
        unlabelled: Whether rows without a label are an error ("error") or left out ("drop").
        missing_images: Whether a missing image file or an empty cell is an error ("error") or means that the case lacks
            the image ("absent").
        columns: The only columns that may be features; None: all that have no other role.
        drop: Columns that are not features.
        overrides: By column, a kind or options that are not inferred, see :meth:`TableSchema.infer`.
        schema: A TOML file of :meth:`save_schema`: nothing is inferred.
        size: Pixels along each side; or ``(height, width)``; with volumes ``(height, width, slices)``, the first two
            for images.
        channels: For images, 3 or 1.
        range: For greyscale deeper than 8 bits, the values that become black and white.
        axes: For volumes, the order of a file's axes, see :class:`~mmfusion.data.images.volumes.VolumeSource`.
        orientation: For volumes, the directions of height, width and slices, such as ``"RAS"``, to which files are
            turned by their headers; None: those of most files of the column, where a file with its slices along another
            axis is a fault; ``"file"``: files are not turned.
        clip: For volumes, the range to which intensities are clipped.
        max_bytes: Limit of memory of one image or volume before it is resized; None: 2**29 and 2**31. A larger file is
            a fault.
        standardise: For volumes, see :class:`~mmfusion.data.images.intensity.Intensity`.
        test: The column with the set of each row: train, test and optionally validation; or true and false; or, with
            ``fold``, the number of the fold.
        fractions: Shares of training, validation and test set; with ``test``, only the ratio of the first two is used.
        split_seed: Seed of the split.
        folds: Number of folds of a cross-validation; see :func:`~mmfusion.data.splits.make.make_split`, also for the
            next two.
        fold: Index of the fold, from 0; with ``test``, the column's value of the test set.
        split_file: A CSV file with the set of each case, by its name.
        subgroups: Columns for results per subgroup, features or not, such as sex or age; a column of more than five
            numbers is divided into thirds of the training set.
        separator: Separator of the cells in a text file; None: inferred.
        encoding: Encoding of a text file; None: UTF-8.

    Raises:
        mmfusion.data.datasets.faults.DatasetError: A ValueError, if an option, the table, its labels, columns, cells or
            split are invalid; lists all faults.
        FileNotFoundError: If a file does not exist.
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
        if unknown := sorted({*map(str, overrides or {})} - {*map(str, frame.columns)}):
            faults.append(f"overrides are given for {unknown}; the table's columns are: {_listed(frame.columns)}")
        named = [label, *columns_of_images, *(name for name in (group, id, test) if name is not None)]
        with faults.caught():
            require_columns(frame, [*named, *(columns or ()), *drop])
        if label in columns_of_images or label in (columns or ()):
            faults.append(f"the label column {label!r} cannot be an image or a feature, too")
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
            faults.append(f"image columns are given more than once: {twice}")
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
        repeated_ids = repeated(frame, id) if id is not None and id in frame.columns else []
        faults += repeated_ids
        ids, groups = CaseReader({}, id_column=id, group_column=group).names(frame)
        if repeated_ids and group is None:
            groups = [str(row) for row in np.arange(len(frame))]  # equal ids in one group are not another fault
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
        not_features = [*named, *drop, *(name for name in frame.columns if columns is not None and name not in columns)]
        not_features = [name for name in dict.fromkeys(not_features) if name in frame.columns]
        feature_overrides = {
            name: override
            for name, override in (overrides or {}).items()
            if name in frame.columns and name not in not_features
        }
        fitted: TableSchema | None = None
        by_column: tuple[Subgroup, ...] = ()
        if schema is not None and overrides:
            faults.append("overrides are given, but the columns are read from a schema file: edit the file instead")
        with faults.caught():
            fitted = fitted_schema(frame, rows, not_features, feature_overrides, schema, bool(sources))
        if fitted is not None and schema is not None:
            faults += cell_faults(frame, fitted)
        with faults.caught():
            names = [subgroups] if isinstance(subgroups, str) else list(subgroups)
            by_column = by_columns(names, frame, frame.iloc[rows])
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
        # A schema from a file has no remarks on the cells of this table.
        read = schema is not None
        self.plan = Plan(
            "table",
            frame,
            folder,
            replace(reader, schema=fitted),
            split,
            notes=(
                *([f"{left_out} row(s) without a label were left out."] if left_out else ()),
                *axes_notes,
                *lacking_classes(target, labels, split),
                *(() if group or not _repeats(frame) else (_NO_GROUP,)),
                *([] if fitted is None else [f"Look at this: {remark}." for remark in fitted.remarks_without_cells]),
                *(cell_notes(fitted, frame) if read else ()),
                *unseen_notes(fitted, frame),
                *leaks(fitted, train, labels[split.train], target.classes, [groups[i] for i in split.train]),
            ),
            fold=fold or 0,
            missing_images=missing_images,
            subgroups=by_column,
        )
        self._cells = cell_lines(fitted, frame) if read else ""
        self.plan = replace(self.plan, about=self.about)

    @property
    def schema(self) -> TableSchema | None:
        """The fitted columns; None without features."""
        return self.plan.reader.schema

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for readers of the results."""
        return self.plan.notes

    @property
    def about(self) -> str:
        """Description of the table in lines: sets, labels, images, columns."""
        plan = self.plan
        lines = []
        for set_name, counts in plan.counts()["label"].items():
            lines.append(
                f"{set_name:<10}  {sum(counts.values())} cases: " + ", ".join(f"{k} {n}" for k, n in counts.items())
            )
        for name, source in plan.reader.images.items():
            shape = "x".join(map(str, source.spec.size))
            kind = "volumes" if isinstance(source, VolumeSource) else "images"
            runs = source.orientation if isinstance(source, VolumeSource) else None
            lines.append(
                f"{name:<10}  {kind} of column {source.column!r}, {source.spec.channels} x {shape}"
                + (f", orientation {runs}" if runs else "")
            )
        lines.append(plan.reader.schema.describe() if plan.reader.schema else "no column is a feature")
        return "\n".join([*lines, *self._cells.splitlines()])

    def save_schema(self, path: Path | str) -> None:
        """Write the columns as a TOML file for ``schema``, to be read and edited.

        Raises:
            ValueError: If no column is a feature.
            FileExistsError: If the file exists.
        """
        if self.schema is None:
            raise ValueError("no column of the table is a feature: there is no schema to save")
        self.schema.save(path)

    def load(self, cache: ImageCache | None = None, progress: Progress | None = None) -> DataBundle:
        """Decode the images and return the training, validation and test set.

        Raises:
            ValueError: If images cannot be decoded; names them.
            FileNotFoundError: If images are missing, unless they may be absent.
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
    """A dataset from any table.

    The options are those of :class:`TableDataset`; ``save_schema`` is a TOML file to write the inferred columns to,
    ``cache`` keeps decoded images on disk, and ``progress`` is called with the images read so far and their number.

    Returns:
        The bundle; one modality per image column, by its name; "meta" if there are features; target "label".

    Raises:
        ValueError: As :class:`TableDataset`, or if no table or no label column is given.
        FileNotFoundError: If a file does not exist.
    """
    options = dict(locals())
    for name in ("cache", "progress", "save_schema"):
        options.pop(name)
    dataset = _dataset(**options)
    if save_schema is not None:
        dataset.save_schema(save_schema)
    return dataset.load(cache, progress)


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
    "Every row counts as another patient, since no group column is given: if patients have several rows, give their "
    "column as group, else results are too optimistic."
)


def _repeats(frame: pd.DataFrame) -> bool:
    """Whether a column seems to have patients or lesions with several rows."""
    named = [name for name in frame.columns if re.search(r"(?i)(patient|subject|lesion|person|case)", str(name))]
    return any(frame[name].duplicated().any() for name in named if isinstance(frame[name], pd.Series))


def _listed(names: Any) -> str:
    return ", ".join(map(str, names))
