"""HAM10000: dermoscopic images with age, sex and body site (Tschandl et al., Scientific Data 5:180161, 2018)."""

from pathlib import Path
from typing import Literal

import numpy as np

from mmfusion.data.datasets.plan import Plan
from mmfusion.data.datasets.planned import planned_dataset
from mmfusion.data.datasets.published import (
    invalid_cells,
    published_plan,
    published_split,
    published_table,
    refuse_published,
    repeated_names,
)
from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.reader import CaseReader, TargetColumn
from mmfusion.data.schema.columns import NumericalColumn
from mmfusion.data.schema.subgroups import age, sex
from mmfusion.data.schema.table_schema import TableSchema
from mmfusion.options import Cases, Fold, Folds, Fractions, Pixels, Seed

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


@planned_dataset("ham10000")
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
) -> Plan:
    """HAM10000 in its published layout, split by lesion; modalities "image" and "meta", target "label".

    How a diagnosis was made (dx_type) leaks it and is never a feature.

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

    Raises:
        ValueError: If the table or an image is invalid; lists all faults of the table.
        FileNotFoundError: If the root, the table, the split file or images are missing.
    """
    benign_or_malignant = {name: "malignant" if name in MALIGNANT else "benign" for name in DIAGNOSES}
    target = (
        TargetColumn("dx", DIAGNOSES)
        if task == "diagnosis"
        else TargetColumn("dx", ("benign", "malignant"), benign_or_malignant)
    )
    needed = ["lesion_id", "image_id", "dx", *NUMERICAL, *CATEGORICAL]
    folder, frame = published_table("ham10000", root, TABLE, needed, "images")
    images = {"image": ImageSource("image_id", (size, size), folders=FOLDERS, suffix=".jpg")}
    reader = CaseReader(targets={"label": target}, images=images, id_column="image_id", group_column="lesion_id")
    numbers = TableSchema(numerical=tuple(NumericalColumn(name) for name in NUMERICAL))
    faults = [*repeated_names(frame, "image_id"), *target.faults(frame), *invalid_cells(frame, numbers)]
    refuse_published("ham10000", faults, reader, frame, folder)
    sizes = (("images", len(frame), N_IMAGES), ("lesions", frame["lesion_id"].nunique(), N_LESIONS))
    if limit is not None:
        frame = frame.iloc[_limited(target.encode(frame).numpy(), limit)]
    split = published_split(
        frame, reader, fractions=fractions, seed=split_seed, folds=folds, fold=fold, file=split_file
    )
    # All values are published, so rare ones may be named.
    schema = TableSchema.fit(frame, numerical=NUMERICAL, categorical=CATEGORICAL, train=split.train, min_cases=1)
    groups = reader.names(frame)[1]
    notes = [
        "HAM10000 (Tschandl et al. 2018, doi 10.7910/DVN/DBW86T) is licensed CC BY-NC 4.0.",
        f"All images of a lesion are in one set; {len(groups) - len(set(groups))} of {len(groups)} images are further "
        "images of a lesion.",
        "dx_type, how the diagnosis was made, leaks the label and is not used.",
    ]
    if limit is not None:
        notes.append(f"Only {len(frame)} cases are used (limit={limit}): a trial, not a result.")
    return published_plan(
        *("ham10000", frame, folder, reader, split, schema, notes),
        fold=fold,
        folds=folds,
        sizes=sizes,
        subgroups=(sex(), age()),
    )


def _limited(labels: np.ndarray, limit: int) -> np.ndarray:
    """Positions of about ``limit`` cases, sorted, evenly spaced within each class; at least three of each class."""
    chosen = []
    for code in np.unique(labels):
        members = np.flatnonzero(labels == code)
        n = min(len(members), max(3, round(limit * len(members) / len(labels))))
        chosen.append(members[np.linspace(0, len(members) - 1, n).round().astype(np.int64)])
    return np.sort(np.concatenate(chosen))
