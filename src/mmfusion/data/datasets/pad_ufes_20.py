"""PAD-UFES-20: photographs of skin lesions by phone, with anamnesis (Pacheco et al., Data in Brief 32:106221, 2020)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfusion.data.datasets.faults import Faults
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
from mmfusion.data.images.sources import Missing
from mmfusion.data.reader import CaseReader, TargetColumn
from mmfusion.data.schema.subgroups import age, sex, skin_type
from mmfusion.data.schema.table_schema import TableSchema
from mmfusion.options import Fold, Folds, Fractions, Pixels, Seed

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


@planned_dataset("pad_ufes_20")
def pad_ufes_20(
    *,
    root: Path | str | None = None,
    size: Pixels = 224,
    columns: Literal["clean", "all"] = "clean",
    fractions: Fractions = (0.7, 0.1, 0.2),
    split_seed: Seed = 0,
    folds: Folds | None = None,
    fold: Fold | None = None,
    split_file: Path | str | None = None,
    missing_images: Missing = "error",
) -> Plan:
    """PAD-UFES-20 in its published layout, split by patient; modalities "image" and "meta", target "label".

    Identifiers and ``biopsed`` are never features.

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

    Raises:
        ValueError: If the table or an image is invalid; lists all faults of the table.
        FileNotFoundError: If the root, the table, the split file or images are missing.
    """
    chosen = {**CLEAN, **(ANAMNESIS if columns == "all" else {})}
    needed = ["img_id", "patient_id", "lesion_id", "diagnostic", *CLEAN, *ANAMNESIS]
    folder, frame = published_table("pad_ufes_20", root, TABLE, needed, "the folder images")
    target = TargetColumn("diagnostic", DIAGNOSES)
    images = {"image": ImageSource("img_id", (size, size), folders=FOLDERS, endings=(".png", ".jpg", ".jpeg"))}
    # Numbers of lesions are only unique within a patient.
    reader = CaseReader(targets={"label": target}, images=images, id_column="img_id", group_column="patient_id")
    faults = [*repeated_names(frame, "img_id"), *target.faults(frame), *_invalid_cells(frame, chosen)]
    refuse_published("pad_ufes_20", faults, reader, frame, folder, missing_images)
    split = published_split(
        frame, reader, fractions=fractions, seed=split_seed, folds=folds, fold=fold, file=split_file
    )
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
    return published_plan(
        *("pad_ufes_20", frame, folder, reader, split, _schema(frame, chosen, split.train), notes),
        fold=fold,
        folds=folds,
        published={"all": PUBLISHED},
        sizes=(
            ("patients", frame["patient_id"].nunique(), 1373),
            ("lesions", frame["lesion_id"].nunique(), 1641),
        ),
        missing_images=missing_images,
        subgroups=(sex("gender"), age(), skin_type("fitspatrick")),
    )


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


def _invalid_cells(frame: pd.DataFrame, columns: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Faults of all rows, column by column."""
    faults = Faults()
    for name, options in columns.items():
        with faults.caught():
            faults += invalid_cells(frame, _schema(frame, {name: options}))
    return faults
