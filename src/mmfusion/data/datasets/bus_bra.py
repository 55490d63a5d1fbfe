"""BUS-BRA: breast ultrasound with lesions read by radiologists (Gómez-Flores et al., Medical Physics, 2024)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from mmfusion.data.datasets.bus_bra_splits import (
    DEVICES,
    PUBLISHED_FOLDS,
    is_of,
    split_by_device,
    split_by_published_fold,
    without_shared_patients,
)
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
from mmfusion.data.images.masks import Masks
from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.images.sources import Missing
from mmfusion.data.reader import CaseReader, TargetColumn
from mmfusion.data.schema.cells import texts
from mmfusion.data.schema.subgroups import Subgroup
from mmfusion.data.schema.table_schema import TableSchema
from mmfusion.data.splits import Split
from mmfusion.options import Fold, Folds, Fractions, Pixels, Seed

TABLE = "bus_data.csv"
PATHOLOGIES = ("benign", "malignant")
BIRADS = ("2", "3", "4", "5")
"""BI-RADS categories in the table, from benign to highly suspicious."""
PUBLISHED = {"benign": 1268, "malignant": 607}
N_IMAGES, N_PATIENTS = 1875, 1064
COLUMNS: dict[str, tuple[str, ...]] = {"clean": ("Side",), "reader": ("BIRADS", "Side")}
NOTES = {
    "clean": "Columns 'clean': which view of the lesion the image is, and nothing that somebody read from it.",
    "reader": "Columns 'reader': BIRADS is a radiologist's reading of the same images, so the table has seen them.",
}
Device = Literal["GE Logiq 5", "GE Logiq 7", "Toshiba Aplio 300", "U-Systems"]


@planned_dataset("bus_bra")
def bus_bra(
    *,
    root: Path | str | None = None,
    size: Pixels = 128,
    task: Literal["pathology", "birads"] = "pathology",
    columns: Literal["clean", "reader"] = "clean",
    fractions: Fractions = (0.7, 0.1, 0.2),
    split_seed: Seed = 0,
    folds: Folds | None = None,
    fold: Fold | None = None,
    published_folds: bool = False,
    split_file: Path | str | None = None,
    test_devices: Sequence[Device] | None = None,
    missing_images: Missing = "error",
) -> Plan:
    """BUS-BRA in its published layout, split by patient; modalities "image" and "meta", target "label".

    Histology is the diagnosis and is never a feature; nor are the scanner and the size of the image, which are about
    the examination and not about the patient.

    Args:
        root: Folder with ``bus_data.csv``, the folder ``Images``, with PNG or JPEG files, and, if wanted, the folder
            ``Masks`` with the lesions' masks, which no model reads: see :meth:`~mmfusion.data.frame.FrameDataset.mask`.
        size: Pixels along each side to which images are resized.
        task: "pathology": benign or malignant; or "birads": the radiologist's category, 2 to 5, as four classes.
        columns: "clean": Side, which view the image is: the left or right one of two of a lesion, or a single one; or
            "reader": a radiologist's BI-RADS category of the same images, too.
        fractions: Shares of training, validation and test set; with ``test_devices`` the first two divide the rest.
        split_seed: Seed of the split; independent of the run's seed, so that repeated runs share their split.
        folds: Number of folds of a cross-validation; see :func:`~mmfusion.data.splits.make.make_split`, also for the
            next two.
        fold: Index of the fold, from 0.
        published_folds: Take the test sets from the published files ``5-fold-cv.csv`` or ``10-fold-cv.csv`` in the
            root, with ``folds`` 5 or 10. Validation sets are drawn from the other folds, by patient.
        split_file: A CSV file with the set of each image.
        test_devices: Scanners whose images are the test set, so that training sees none of them; other images of their
            patients are left out. None: the test set is drawn from all scanners.
        missing_images: Whether a missing image is an error ("error") or means that the case lacks it ("absent").

    Raises:
        ValueError: If the table or an image is invalid, or options contradict each other; lists all faults of the
            table.
        FileNotFoundError: If the root, the table, the file of the split or folds, or images are missing.
    """
    if task == "birads" and columns == "reader":
        raise ValueError("columns='reader' has BIRADS, which is the label of task='birads': use columns='clean'")
    if test_devices is not None and (folds is not None or fold is not None or split_file is not None):
        raise ValueError("test_devices determines the test set: leave out folds, fold and split_file")
    if published_folds and (folds not in PUBLISHED_FOLDS or split_file is not None):
        raise ValueError(f"published_folds=True needs folds=5 or folds=10, without split_file; got folds={folds}")
    needed = ["ID", "Case", "Pathology", "BIRADS", "Device", "Side"]
    folder, frame = published_table("bus_bra", root, TABLE, needed, "the folder Images")
    target = TargetColumn("Pathology", PATHOLOGIES) if task == "pathology" else TargetColumn("BIRADS", BIRADS)
    images = {"image": ImageSource("ID", (size, size), folders=("Images",), suffix=".png", endings=(".jpg", ".jpeg"))}
    reader = CaseReader(targets={"label": target}, images=images, id_column="ID", group_column="Case")
    faults = Faults()
    faults += [*repeated_names(frame, "ID"), *target.faults(frame), *_unknown_devices(frame)]
    with faults.caught():
        faults += invalid_cells(frame, _schema(frame, columns))
    refuse_published("bus_bra", faults, reader, frame, folder, missing_images)
    sizes = (
        ("images", len(frame), N_IMAGES),
        ("patients", frame["Case"].nunique(), N_PATIENTS),
        *(
            (f"images of {device}", int(is_of(frame, [device]).sum()), published)
            for device, published in DEVICES.items()
        ),
    )
    notes = [
        "BUS-BRA (Gómez-Flores et al. 2024, Medical Physics): its licence asks for a citation of this article.",
        "All images of a patient are in one set.",
        "Histology is the diagnosis and is not used; nor are the scanner and the size of the image.",
    ]
    notes.append(NOTES[columns])
    if task == "birads":
        notes.append("The BI-RADS categories are four classes: their order is not used in training.")
    if test_devices is not None:
        frame, left_out = without_shared_patients(frame, test_devices)
        notes.append(f"The test set is all images of {', '.join(test_devices)}; training has other scanners alone.")
        if left_out:
            notes.append(f"Images by other scanners of patients in the test set are left out: {left_out}.")
    labels, (ids, groups) = target.encode(frame).numpy(), reader.names(frame)
    if test_devices is not None:
        split = split_by_device(frame, labels, groups, test_devices, fractions, split_seed)
    elif published_folds and folds is not None:
        notes.append("The folds are those that were published with the dataset.")
        split = split_by_published_fold(
            *(folder, ids, labels, groups, fractions, split_seed), folds=folds, fold=fold or 0
        )
    else:
        split = published_split(
            frame, reader, fractions=fractions, seed=split_seed, folds=folds, fold=fold, file=split_file
        )
    return published_plan(
        *("bus_bra", frame, folder, reader, split, _schema(frame, columns, split), notes),
        fold=fold,
        folds=folds,
        published={"all": PUBLISHED} if task == "pathology" else {},
        sizes=sizes,
        missing_images=missing_images,
        subgroups=(Subgroup("scanner", "Device"), Subgroup("side", "Side")),
        masks={"image": Masks.find(images["image"], frame, folder, _mask_files(frame))},
    )


def _schema(frame: pd.DataFrame, columns: str, split: Split | None = None) -> TableSchema:
    kinds: dict[str, dict[str, Any]] = {
        "Side": {"kind": "categorical", "categories": ("left", "right", "single")},
        "BIRADS": {"kind": "ordinal", "categories": BIRADS},
    }
    names = COLUMNS[columns]
    return TableSchema.fit(
        frame,
        categorical=names,
        options={name: kinds[name] for name in names},
        train=None if split is None else split.train,
        min_cases=1,  # all values are published, so rare ones may be named
    )


def _mask_files(frame: pd.DataFrame) -> list[str | None]:
    """``Masks/mask_0001-l.png`` of the image ``bus_0001-l``."""
    return [None if name is None else f"Masks/mask_{name.removeprefix('bus_')}.png" for name in texts(frame, "ID")]


def _unknown_devices(frame: pd.DataFrame) -> list[str]:
    cells = frame["Device"][~is_of(frame, DEVICES)]
    known = ", ".join(DEVICES)
    return [f"column 'Device' has {cell!r} in row {row}; known are: {known}" for row, cell in cells.items()]
