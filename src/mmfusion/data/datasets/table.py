"""Datasets from any table: a column of labels, columns of image files, inferred features."""

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd

from mmfusion.data.datasets.faults import Faults, refuse
from mmfusion.data.datasets.feature_columns import cell_faults, feature_options, fitted_schema, unseen_notes
from mmfusion.data.datasets.image_columns import ImageOptions, Size, image_sources, source_of
from mmfusion.data.datasets.labels import Unlabelled, lacking_classes, read_labels
from mmfusion.data.datasets.plan import Plan
from mmfusion.data.datasets.planned import planned_dataset
from mmfusion.data.datasets.published import cell_lines, cell_notes, leak_notes, repeated_names
from mmfusion.data.datasets.split_column import column_split
from mmfusion.data.datasets.table_frame import read_frame
from mmfusion.data.images.dicom_images import Frame
from mmfusion.data.images.intensity import Intensity, Standardize
from mmfusion.data.images.sources import Missing, find_images
from mmfusion.data.images.volumes import VolumeSource
from mmfusion.data.reader import CaseReader
from mmfusion.data.schema.cells import distinct, one_column, require_columns
from mmfusion.data.schema.inference import Override
from mmfusion.data.schema.subgroups import Subgroup, by_columns
from mmfusion.data.schema.table_schema import TableSchema
from mmfusion.data.splits import make_split
from mmfusion.option_checks import checked
from mmfusion.options import Fold, Folds, Fractions, Interval, Length, Name, Positive, Range, Seed

_NO_GROUP = (
    "Every row counts as another patient, since no group column is given: if patients have several rows, give their "
    "column as group, else results are too optimistic."
)


class TableDataset(Plan):
    """A table of cases, checked and split, before any image is decoded; :meth:`load` gives the bundle.

    The bundle has one modality per image column, by its name; "meta" if there are features; and the target "label".

    Kinds of columns are inferred from all rows, independently of labels, so that all folds have the same features;
    statistics and vocabularies are fitted on the training rows only. See :meth:`TableSchema.infer` and :attr:`about`.

    Args:
        table: A DataFrame, or a ``.csv``, ``.tsv``, ``.parquet`` or ``.xlsx`` file.
        label: The column of labels, texts or whole numbers.
        images: Columns with names of image files, one modality each: photographs, DICOM images, or volumes (``.nii``,
            ``.nii.gz``, ``.nrrd``; with three sizes also DICOM, files of several frames or folders of slices). A cell
            may name several images of a case, separated by ``;``, or by a pattern such as ``case7/*.png``. Empty: only
            the table.
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
        save_schema: A TOML file to write the inferred columns to.
        size: Pixels along each side; or ``(height, width)``; with volumes ``(height, width, slices)``, the first two
            for images.
        channels: For images, 3 or 1.
        range: For greyscale deeper than 8 bits, the values that become black and white; None: 0 and the depth that the
            values need.
        axes: For volumes, the order of a file's axes, see :class:`~mmfusion.data.images.volumes.VolumeSource`.
        orientation: For volumes, the directions of height, width and slices, such as ``"RAS"``, to which files are
            turned by their headers; None: those of most files of the column, where a file with its slices along another
            axis is a fault; ``"file"``: files are not turned.
        clip: For volumes, the range to which intensities are clipped.
        max_bytes: Limit of memory of one image or volume before it is resized; None: 2**29 and 2**31. A larger file is
            a fault.
        window: Center and width of the values that are shown, as in ``[40, 400]``, another way to give ``range`` and
            ``clip``; None: of DICOM images, the first window of each file.
        image_frame: For DICOM files of several frames that are read as images, the frame, from 0, or ``"middle"``.
        spacing: For volumes, the distance between neighbors along height, width and slices in millimeters: each is
            interpolated to it by its header, and cut or filled to ``size`` around its center. None: each is resized to
            ``size``, whatever its spacing.
        max_images: Most images of a case where a cell names several; more are a fault.
        standardise: For volumes, see :class:`~mmfusion.data.images.intensity.Intensity`.
        test: The column with the set of each row: train, test and optionally validation; or train and validation, for
            runs that test nothing (``run.test=false``); or true and false; or, with ``fold``, the number of the fold.
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
        sheet: Name of a spreadsheet's sheet; None: the only one that has cells.

    Raises:
        mmfusion.data.datasets.faults.DatasetError: A ValueError, if the table, its labels, columns, cells or split are
            invalid; lists all faults.
        ValueError: If an option is invalid, or the table or the label column is not given.
        FileNotFoundError: If a file does not exist.
    """

    @checked
    def __init__(
        self,
        table: pd.DataFrame | Path | str | None = None,
        *,
        label: Name | None = None,
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
        save_schema: Path | str | None = None,
        size: Size = 128,
        channels: Literal[1, 3] = 3,
        range: Interval | None = None,
        axes: str = "hws",
        orientation: Name | None = None,
        clip: Interval | None = None,
        max_bytes: Annotated[int, Range(1, 2**50)] | None = None,
        window: Annotated[Sequence[float], Length(2)] | None = None,
        image_frame: Frame | None = None,
        spacing: Annotated[Sequence[Positive], Length(3)] | None = None,
        max_images: Annotated[int, Range(2, 10_000)] = 32,
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
        sheet: Name | None = None,
    ) -> None:
        if table is None or label is None:
            needed = [
                *(["a table, table=FILE: a .csv, .tsv, .parquet or .xlsx"] if table is None else []),
                *(["the column of the labels, label=COLUMN"] if label is None else []),
            ]
            raise ValueError(f"the dataset 'table' needs {'; and '.join(needed)}")
        faults = Faults()
        frame, folder = read_frame(table, root, separator, encoding, sheet, schema, split_file, faults)
        image_columns = [images] if isinstance(images, str) else list(images)
        if unknown := sorted({*map(str, overrides or {})} - set(frame.columns)):
            faults.append(f"overrides are given for {unknown}; the table's columns are: {', '.join(frame.columns)}")
        of_cases = {group: "groups the cases", id: "is the identifier", test: "marks the test set"}
        roles = {label: "is the label", **dict.fromkeys(image_columns, "has the images")}
        roles |= {name: role for name, role in of_cases.items() if name is not None and name not in roles}
        with faults.caught():
            require_columns(frame, [*roles, *(columns or ()), *drop])
        if label in image_columns or label in (columns or ()):
            faults.append(f"the label column {label!r} cannot be an image or a feature, too")
        frame, target, left_out = read_labels(frame, label, classes, unlabelled, faults)
        of_images = ImageOptions(
            size, channels, range, axes, orientation, clip, max_bytes, window, image_frame, spacing, max_images
        )
        source = functools.partial(source_of, frame, folder, of_images)
        sources, axes_notes = image_sources(frame, folder, image_columns, source, orientation is None, faults)
        repeated = repeated_names(frame, id) if id is not None and id in frame.columns else []
        faults += repeated
        ids, groups = CaseReader({}, id_column=id, group_column=group).names(frame)
        if repeated and group is None:
            groups = list(map(str, np.arange(len(frame))))  # equal ids in one group are not another fault
        codes = np.zeros(len(frame), dtype=np.int64)
        if label in frame.columns:
            codes = np.maximum(distinct(one_column(frame, label))[0], 0)
        split = None
        options: dict[str, Any] = {
            "fractions": fractions,
            "seed": split_seed,
            "folds": folds,
            "fold": fold,
            "file": split_file,
        }
        with faults.caught():
            if test is None:
                split = make_split(codes, groups, ids, **options)
            elif test in frame.columns:
                split = column_split(frame, test, codes, groups, **options)
        rows = np.arange(len(frame)) if split is None else split.train
        fitted: TableSchema | None = None
        by_column: tuple[Subgroup, ...] = ()
        if schema is not None and overrides:
            faults.append("overrides are given, but the columns are read from a schema file: edit the file instead")
        with faults.caught():
            of_features = feature_options(
                frame, {**dict.fromkeys(drop, "is left out by choice"), **roles}, columns, overrides or {}
            )
            fitted = fitted_schema(frame, rows, *of_features, schema, bool(sources))
        if fitted is not None and schema is not None:
            faults += cell_faults(frame, fitted)
        with faults.caught():
            by_column = by_columns([subgroups] if isinstance(subgroups, str) else subgroups, frame, frame.iloc[rows])
        if faults or target is None or split is None:
            is_listed = missing_images == "error" and folder.is_dir()
            refuse("the table", faults, find_images(sources, frame, folder).absent if is_listed else [])
        volumes = [name for name, source in sources.items() if isinstance(source, VolumeSource)]
        reader = CaseReader(
            targets={"label": target},
            images=sources,
            schema=fitted,
            id_column=id,
            group_column=group,
            intensities=dict.fromkeys(volumes if standardise != "none" else (), Intensity(standardise)),
        )
        notes = [
            *([f"{left_out} row(s) without a label were left out."] if left_out else ()),
            *axes_notes,
            *lacking_classes(target, target.codes(frame), split),
            *(() if group or not _repeats(frame) else (_NO_GROUP,)),
        ]
        if fitted is not None:
            notes += [f"Look at this: {remark}." for remark in fitted.remarks_without_cells]
            # A schema from a file has no remarks on the cells of this table.
            notes += [] if schema is None else cell_notes(fitted, frame)
            notes += [*unseen_notes(fitted, frame), *leak_notes(fitted, reader, frame.iloc[split.train])]
        super().__init__(
            *("table", frame, folder, reader, split),
            notes=tuple(notes),
            fold=fold or 0,
            missing_images=missing_images,
            subgroups=by_column,
        )
        cells = cell_lines(fitted, frame) if fitted is not None and schema is not None else ""
        object.__setattr__(self, "about", "\n".join([*self._description(), *cells.splitlines()]))
        if save_schema is not None:
            self.save_schema(save_schema)

    def _description(self) -> list[str]:
        """Sets, labels, images and columns, in lines."""
        lines = [
            f"{name:<10}  {sum(counts.values())} cases: " + ", ".join(f"{k} {n}" for k, n in counts.items())
            for name, counts in self.counts()["label"].items()
        ]
        for name, source in self.reader.images.items():
            is_volume = isinstance(source, VolumeSource)
            shape = "x".join(map(str, source.spec.size))
            orientation = source.orientation if isinstance(source, VolumeSource) else None
            lines.append(
                f"{name:<10}  {'bags of ' * (source.bag > 1)}{'volumes' if is_volume else 'images'} of column "
                f"{source.column!r}, "
                f"{source.spec.channels} x {shape}" + (f", orientation {orientation}" if orientation else "")
            )
        return [*lines, "no column is a feature" if self.schema is None else self.schema.describe()]

    def save_schema(self, path: Path | str) -> None:
        """Write the columns as a TOML file for ``schema``, to be read and edited.

        Raises:
            ValueError: If no column is a feature.
            FileExistsError: If the file exists.
        """
        if self.schema is None:
            raise ValueError("no column of the table is a feature: there is no schema to save")
        self.schema.save(path)


table = planned_dataset("table")(TableDataset)


def _repeats(frame: pd.DataFrame) -> bool:
    """Whether a column seems to have patients or lesions with several rows."""
    named = [name for name in frame.columns if re.search(r"(?i)(patient|subject|lesion|person|case)", str(name))]
    return any(frame[name].duplicated().any() for name in named)
