"""HAM10000: dermoscopic images with age, sex and body site (Tschandl et al., Scientific Data 5:180161, 2018)."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from mmfusion.data.bundle import DataBundle
from mmfusion.data.datasets.faults import refuse
from mmfusion.data.datasets.plan import (
    Plan,
    absent_images,
    cell_lines,
    cell_notes,
    leaks,
    needs,
    repeated,
    root_folder,
    root_lacks,
    square,
    strange_cells,
)
from mmfusion.data.images.cache import ImageCache
from mmfusion.data.images.listing import Listing
from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.reader import CaseReader, Progress, TargetColumn
from mmfusion.data.schema.columns import NumericalColumn
from mmfusion.data.schema.subgroups import age, sex
from mmfusion.data.schema.table_file import read_table
from mmfusion.data.schema.table_schema import TableSchema
from mmfusion.data.splits import make_split
from mmfusion.options import Cases, Fold, Folds, Fractions, Pixels, Seed
from mmfusion.registry import datasets

TABLE = "HAM10000_metadata.csv"
FOLDERS = ("HAM10000_images_part_1", "HAM10000_images_part_2", "HAM10000_images")
DIAGNOSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
MALIGNANT = ("akiec", "bcc", "mel")
"""Melanoma, basal cell carcinoma and akiec: actinic keratoses and intraepithelial carcinomas (Bowen's disease), which
the dataset's paper describes as non-invasive variants of squamous cell carcinoma. Work that counts akiec as benign has
another task, whose numbers do not compare."""
N_IMAGES, N_LESIONS = 10_015, 7_470
"""Numbers of the published data."""
NUMERICAL = ("age",)
CATEGORICAL = ("sex", "localization")


def _target(task: str) -> TargetColumn:
    if task == "diagnosis":
        return TargetColumn("dx", DIAGNOSES)
    if task == "malignant":
        return TargetColumn(
            "dx",
            ("benign", "malignant"),
            {name: "malignant" if name in MALIGNANT else "benign" for name in DIAGNOSES},
        )
    raise ValueError(f"ham10000 expects task 'diagnosis' or 'malignant', got {task!r}")


def plan(
    root: Path | str | None,
    *,
    split_seed: int = 0,
    size: int = 128,
    task: Literal["diagnosis", "malignant"] = "diagnosis",
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    folds: int | None = None,
    fold: int | None = None,
    split_file: Path | str | None = None,
    limit: int | None = None,
) -> Plan:
    """The dataset before any image is decoded; the arguments are those of :func:`ham10000`.

    Raises:
        DatasetError: If the table has faults; lists all.
    """
    target = _target(task)
    folder = root_folder("ham10000", root, f"{TABLE} and images")
    table = Listing().file(folder, TABLE)
    if table is None:
        root_lacks(folder, TABLE)
    frame = read_table(table)
    needs(frame, ["lesion_id", "image_id", "dx", *NUMERICAL, *CATEGORICAL], table)
    images = {"image": ImageSource("image_id", square("ham10000", size), folders=FOLDERS, suffix=".jpg")}
    fitted = TableSchema(numerical=tuple(NumericalColumn(name) for name in NUMERICAL))
    faults = [*repeated(frame, "image_id"), *target.faults(frame), *strange_cells(frame, fitted)]
    if faults:
        refuse("ham10000", faults, absent_images(images, frame, folder))
    labels = target.encode(frame).numpy()
    sizes = (("images", len(frame), N_IMAGES), ("lesions", frame["lesion_id"].nunique(), N_LESIONS))
    if limit is not None:
        frame = frame.iloc[_limited(labels, limit)]
        labels = target.encode(frame).numpy()
    reader = CaseReader(targets={"label": target}, images=images, id_column="image_id", group_column="lesion_id")
    ids, groups = reader.names(frame)
    split = make_split(
        labels, groups, ids, fractions=fractions, seed=split_seed, folds=folds, fold=fold, file=split_file
    )
    # All values are published, so rare ones may be named.
    schema = TableSchema.fit(frame, numerical=NUMERICAL, categorical=CATEGORICAL, train=split.train, min_cases=1)
    several = len(groups) - len(set(groups))
    notes = [
        "HAM10000 (Tschandl et al. 2018, doi 10.7910/DVN/DBW86T) is licensed CC BY-NC 4.0.",
        f"All images of a lesion are in one set; {several} of {len(groups)} images are further images of a lesion.",
        "dx_type, how the diagnosis was made, leaks the label and is not used.",
        *cell_notes(schema, frame),
        *leaks(schema, frame.iloc[split.train], labels[split.train], target.classes, [groups[i] for i in split.train]),
    ]
    if folds is not None:
        notes.append(f"The test set is fold {fold or 0} of {folds}, counted from 0.")
    if limit is not None:
        notes.append(f"Only {len(frame)} cases are used (limit={limit}): a trial, not a result.")
    return Plan(
        "ham10000",
        frame,
        folder,
        replace(reader, schema=schema),
        split,
        sizes=sizes,
        notes=tuple(notes),
        about=cell_lines(schema, frame),
        fold=fold or 0,
        subgroups=(sex(), age()),
    )


@datasets.register("ham10000")
def ham10000(
    *,
    root: Path | str | None = None,
    split_seed: Seed = 0,
    size: Pixels = 128,
    task: Literal["diagnosis", "malignant"] = "diagnosis",
    fractions: Fractions = (0.7, 0.1, 0.2),
    folds: Folds | None = None,
    fold: Fold | None = None,
    split_file: Path | str | None = None,
    limit: Cases | None = None,
    cache: ImageCache | None = None,
    progress: Progress | None = None,
) -> DataBundle:
    """HAM10000 in its published layout, split by lesion.

    Args:
        root: Folder with ``HAM10000_metadata.csv`` and the images as JPEG in ``HAM10000_images_part_1`` and
            ``HAM10000_images_part_2``, or in ``HAM10000_images``.
        split_seed: Seed of the split; independent of the run's seed, so that repeated runs share their split.
        size: Pixels along each side to which images are resized.
        task: "diagnosis", seven classes; or "malignant": melanoma, basal cell carcinoma and actinic keratosis with
            intraepithelial carcinoma against the others.
        fractions: Shares of training, validation and test set.
        folds: Number of folds of a cross-validation; see :func:`~mmfusion.data.splits.make.make_split`, also for the
            next two.
        fold: Index of the fold, from 0.
        split_file: A CSV file with the set of each image.
        limit: Use only about this many cases, with the same shares of the classes: for a quick trial.
        cache: Keeps decoded images on disk; None: they are in memory.
        progress: Called with the number of images read so far and of all images.

    Returns:
        The bundle; modalities "image" and "meta", target "label". How a diagnosis was made (dx_type) leaks it and is
        never a feature.

    Raises:
        ValueError: If an option, the table or an image is invalid.
        FileNotFoundError: If the root, the table, the split file or images are missing.
    """
    planned = plan(
        root,
        split_seed=split_seed,
        size=size,
        task=task,
        fractions=fractions,
        folds=folds,
        fold=fold,
        split_file=split_file,
        limit=limit,
    )
    return planned.load(cache, progress)


def _limited(labels: np.ndarray, limit: int) -> np.ndarray:
    """Positions of about ``limit`` cases, sorted, evenly spaced within each class; at least three of each class."""
    if limit < 1:
        raise ValueError(f"limit expects a positive number of cases, got {limit}")
    chosen = []
    for code in np.unique(labels):
        members = np.flatnonzero(labels == code)
        n = min(len(members), max(3, round(limit * len(members) / len(labels))))
        chosen.append(members[np.linspace(0, len(members) - 1, n).round().astype(np.int64)])
    return np.sort(np.concatenate(chosen))
