"""PAD-UFES-20: photographs of skin lesions by phone, with anamnesis (Pacheco et al., Data in Brief 32:106221, 2020)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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
from mmfusion.data.images.sources import Missing
from mmfusion.data.reader import CaseReader, Progress, TargetColumn
from mmfusion.data.schema.subgroups import age, sex, skin_type
from mmfusion.data.schema.table_file import read_table
from mmfusion.data.schema.table_schema import TableSchema
from mmfusion.data.splits import make_split
from mmfusion.options import Fold, Folds, Fractions, Pixels, Seed
from mmfusion.registry import datasets

TABLE = "metadata.csv"
_PARTS = tuple(f"imgs_part_{i}" for i in (1, 2, 3))
FOLDERS = ("images", *_PARTS, *(f"images/{part}" for part in _PARTS), *(f"{part}/{part}" for part in _PARTS))
"""Folders of the images: as published, and as the archives unpack."""
DIAGNOSES = ("ACK", "BCC", "MEL", "NEV", "SCC", "SEK")
PUBLISHED = {"ACK": 730, "BCC": 845, "MEL": 52, "NEV": 244, "SCC": 192, "SEK": 235}
SYMPTOMS = ("itch", "grew", "hurt", "changed", "bleed", "elevation")
CLEAN: Mapping[str, Mapping[str, Any]] = {
    "age": {"kind": "numerical", "unit": "years"},
    "region": {"kind": "categorical"},
    **{name: {"kind": "boolean"} for name in SYMPTOMS},
}
"""Columns that are known for every lesion."""
_BRAZIL = {"BRASIL": "BRAZIL"}
ANAMNESIS: Mapping[str, Mapping[str, Any]] = {
    **{name: {"kind": "boolean"} for name in ("smoke", "drink")},
    **{name: {"kind": "categorical", "aliases": _BRAZIL} for name in ("background_father", "background_mother")},
    "pesticide": {"kind": "boolean"},
    "gender": {"kind": "categorical"},
    **{
        name: {"kind": "boolean"}
        for name in ("skin_cancer_history", "cancer_history", "has_piped_water", "has_sewage_system")
    },
    "fitspatrick": {"kind": "ordinal", "categories": ("1", "2", "3", "4", "5", "6")},
    **{name: {"kind": "numerical", "unit": "mm"} for name in ("diameter_1", "diameter_2")},
}
"""Columns that are known for patients with a biopsy, and few others."""

ColumnSet = Literal["clean", "all"]


def plan(
    root: Path | str | None,
    *,
    size: int = 224,
    columns: ColumnSet = "clean",
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    split_seed: int = 0,
    folds: int | None = None,
    fold: int | None = None,
    split_file: Path | str | None = None,
    missing_images: Missing = "error",
) -> Plan:
    """The dataset before any image is decoded; the arguments are those of :func:`pad_ufes_20`.

    Raises:
        DatasetError: If the table has faults; lists all.
    """
    if columns not in ("clean", "all"):
        raise ValueError(f"pad-ufes-20 expects columns 'clean' or 'all', got {columns!r}")
    side = square("pad-ufes-20", size)
    chosen = {**CLEAN, **(ANAMNESIS if columns == "all" else {})}
    folder = root_folder("pad-ufes-20", root, f"{TABLE} and the folder images")
    table = Listing().file(folder, TABLE)
    if table is None:
        root_lacks(folder, TABLE)
    frame = read_table(table)
    needs(frame, ["img_id", "patient_id", "lesion_id", "diagnostic", *CLEAN, *ANAMNESIS], table)
    target = TargetColumn("diagnostic", DIAGNOSES)
    images = {"image": ImageSource("img_id", side, folders=FOLDERS, endings=(".png", ".jpg", ".jpeg"))}
    faults = [*repeated(frame, "img_id"), *target.faults(frame), *_cells(frame, chosen)]
    if faults:
        absent = absent_images(images, frame, folder) if missing_images == "error" else []
        refuse("pad-ufes-20", faults, absent)
    labels = target.encode(frame).numpy()
    reader = CaseReader(targets={"label": target}, images=images, id_column="img_id", group_column="patient_id")
    # Numbers of lesions are only unique within a patient.
    ids, groups = reader.names(frame)
    split = make_split(
        labels, groups, ids, fractions=fractions, seed=split_seed, folds=folds, fold=fold, file=split_file
    )
    train = frame.iloc[split.train]
    schema = _schema(frame, chosen, split.train)
    notes = [
        "PAD-UFES-20 (Pacheco et al. 2020, doi 10.17632/zr7vgbcyr2.1) is licensed CC BY 4.0.",
        "All images of a patient are in one set.",
        "biopsed, whether a biopsy was made, leaks the label and is not used: all cancers are confirmed by one.",
    ]
    if columns == "all":
        bare = frame[list(ANAMNESIS)].map(lambda cell: not str(cell).strip()).all(axis=1)
        classes_without = sorted(set(frame.loc[bare, "diagnostic"]))
        notes.append(
            f"The {int(bare.sum())} rows without any anamnesis are of {', '.join(classes_without) or 'no class'}: "
            "whether it is missing leaks classes; columns='clean' leaves it out."
        )
    if folds is not None:
        notes.append(f"The test set is fold {fold or 0} of {folds}, counted from 0.")
    notes += cell_notes(schema, frame)
    notes += leaks(schema, train, labels[split.train], DIAGNOSES, [groups[i] for i in split.train])
    sizes = (
        ("patients", frame["patient_id"].nunique(), 1373),
        ("lesions", frame["lesion_id"].nunique(), 1641),
    )
    return Plan(
        "pad-ufes-20",
        frame,
        folder,
        replace(reader, schema=schema),
        split,
        {"all": PUBLISHED},
        sizes,
        tuple(notes),
        cell_lines(schema, frame),
        fold=fold or 0,
        missing_images=missing_images,
        subgroups=(sex("gender"), age(), skin_type("fitspatrick")),
    )


@datasets.register("pad-ufes-20")
def pad_ufes_20(
    *,
    root: Path | str | None = None,
    size: Pixels = 224,
    columns: ColumnSet = "clean",
    fractions: Fractions = (0.7, 0.1, 0.2),
    split_seed: Seed = 0,
    folds: Folds | None = None,
    fold: Fold | None = None,
    split_file: Path | str | None = None,
    missing_images: Missing = "error",
    cache: ImageCache | None = None,
    progress: Progress | None = None,
) -> DataBundle:
    """PAD-UFES-20 in its published layout, split by patient.

    Args:
        root: Folder with ``metadata.csv`` and the images, as PNG or JPEG, in ``images`` or ``imgs_part_1`` to ``3``.
        size: Pixels along each side to which images are resized.
        columns: "clean": age, region, and columns that are known for every lesion (itch, grew, hurt, changed, bleed,
            elevation); or "all": the anamnesis, too, whose absence leaks classes.
        fractions: Shares of training, validation and test set.
        split_seed: Seed of the split; independent of the run's seed, so that repeated runs share their split.
        folds: Number of folds of a cross-validation; see :func:`~mmfusion.data.splits.make.make_split`, also for the
            next two.
        fold: Index of the fold, from 0.
        split_file: A CSV file with the set of each image.
        missing_images: Whether a missing image is an error ("error") or means that the case lacks it ("absent").
        cache: Keeps decoded images on disk; None: they are in memory.
        progress: Called with the number of images read so far and of all images.

    Returns:
        The bundle; modalities "image" and "meta", target "label" of six classes. Identifiers and ``biopsed`` are
        never features.

    Raises:
        ValueError: If an option, the table or an image is invalid.
        FileNotFoundError: If the root, the table, the split file or images are missing.
    """
    planned = plan(
        root,
        size=size,
        columns=columns,
        fractions=fractions,
        split_seed=split_seed,
        folds=folds,
        fold=fold,
        split_file=split_file,
        missing_images=missing_images,
    )
    return planned.load(cache, progress)


def _schema(
    frame: pd.DataFrame, columns: Mapping[str, Mapping[str, Any]], train: NDArray[np.int64] | None = None
) -> TableSchema:
    return TableSchema.fit(
        frame,
        numerical=[name for name, options in columns.items() if options["kind"] == "numerical"],
        categorical=[name for name, options in columns.items() if options["kind"] != "numerical"],
        options=columns,
        train=train,
        min_cases=1,  # all values are published, so rare ones may be named
    )


def _cells(frame: pd.DataFrame, columns: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Faults of all rows, column by column."""
    faults: list[str] = []
    for name, options in columns.items():
        try:
            faults += strange_cells(frame, _schema(frame, {name: options}))
        except ValueError as error:
            faults.append(str(error))
    return faults
