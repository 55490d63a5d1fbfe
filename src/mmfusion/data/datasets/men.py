"""MEN: grading of meningiomas from three MRI sequences and six clinical columns; a private dataset's layout."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfusion.data.datasets.faults import refuse
from mmfusion.data.datasets.plan import Plan
from mmfusion.data.datasets.planned import planned_dataset
from mmfusion.data.datasets.published import published_plan, root_folder, root_lacks
from mmfusion.data.images.intensity import Intensity, Standardize
from mmfusion.data.images.listing import Listing
from mmfusion.data.images.source import Source
from mmfusion.data.images.stack import StackSource
from mmfusion.data.images.volumes import VolumeSource
from mmfusion.data.reader import CaseReader, TargetColumn
from mmfusion.data.schema.cells import texts
from mmfusion.data.schema.number_cells import numbers
from mmfusion.data.schema.subgroups import age, sex
from mmfusion.data.schema.table_file import SUFFIXES, read_table
from mmfusion.data.schema.table_schema import TableSchema
from mmfusion.data.splits import Split, split_from_column
from mmfusion.options import Length, Name, Pixels, Range, Seed

Volume: TypeAlias = Annotated[Sequence[Pixels], Length(3)]
CLASSES = ("Grade_1", "Grade_2_invasion", "Grade_2_noninvasion")
FOLDERS = ("train", "test")
FILES = {"t1": "t1_bbox.nii.gz", "t2": "t2_bbox.nii.gz", "adc": "adc_bbox.nii.gz"}
CLIP = (0.0, 1200.0)
SIZE = (128, 128, 24)
LOCATIONS = {"1": "convex surface", "2": "skull base", "3": "other location"}
SEXES = {"0": "female", "1": "male"}
CLINICAL = ("location", "sex", "age", "adc_value", "tumour_area", "oedema_area")
"""Content of the fifth to the tenth column, whatever their names are."""
_FIRST = 4
_OPTIONS: dict[str, dict[str, Any]] = {
    "location": {
        "categories": tuple(LOCATIONS.values()),
        "aliases": LOCATIONS,
        "template": "The tumor location in the brain is {value}",
    },
    "sex": {"categories": tuple(SEXES.values()), "aliases": SEXES, "template": "The sex of patient is {value}"},
    "age": {"unit": "years", "template": "The age of patient is {value}"},
    "adc_value": {"template": "The value of apparent diffusion coefficient is {value}"},
    "tumour_area": {"template": "The tumor area in the brain is {value}"},
    "oedema_area": {"template": "The edema area in the brain is {value}"},
}
_RANGES = {
    "age": (0.0, 120.0),
    "adc_value": (0.0, np.inf),
    "tumour_area": (0.0, np.inf),
    "oedema_area": (0.0, np.inf),
}


@planned_dataset("men")
def men(
    *,
    root: Path | str | None = None,
    table: Path | str | None = None,
    encoding: Name | None = None,
    fold: Annotated[int, Range(1, 3)] = 1,
    sequences: Literal["modalities", "channels"] = "modalities",
    standardise: Standardize = "image",
    size: Volume = SIZE,
    shape: Volume = SIZE,
    validation: Annotated[float, Range(0, 1, below=True)] = 0.125,
    split_seed: Seed = 0,
) -> Plan:
    """MEN in the layout that CFCML's code reads: one folder per patient, a clinical table next to the folds.

    Target "label" of three classes, table "meta". Intensities are clipped to [0, 1200]. A new case's table has the
    columns ``folder`` (the patient's, below the root), ``location``, ``sex``, ``age``, ``adc_value``, ``tumour_area``
    and ``oedema_area``.

    Args:
        root: Folder with ``1fold/{train,test}/{Grade_1,Grade_2_invasion,Grade_2_noninvasion}/<patient>/`` and in it
            ``t1_bbox.nii.gz``, ``t2_bbox.nii.gz``, ``adc_bbox.nii.gz``; other files are ignored.
        table: The clinical CSV, relative to the root; None: the only table in the root. Its columns are
            identified by position: the first is the name of the patient's folder, the fifth to the tenth location (1
            convex surface, 2 skull base, 3 other), sex (0 female, 1 male), age, ADC value, tumour area, oedema area.
        encoding: Encoding of that file; None: UTF-8.
        fold: 1, 2 or 3; the test set is that of the fold's folder.
        sequences: "modalities": t1, t2 and adc; or "channels": one modality "mri" of three channels.
        standardise: "image": each sequence of each patient by itself; "sequence": by mean and standard deviation
            of the training set; "none".
        size: ``(height, width, slices)`` to which volumes are resized.
        shape: ``(height, width, slices)`` that the files must have, slices first or last.
        validation: Share of the training patients for the validation set, stratified; 0: none, as published, for a run
            that chooses its epoch on the test set (``train.select_on``).
        split_seed: Seed of the validation set.

    Raises:
        ValueError: If the table, the folders or a volume is invalid; lists all faults of folders and table.
        FileNotFoundError: If the root, a fold, the table or volumes are missing.
    """
    # NOTE[DIFF] Standardized over all voxels: the published code leaves those at 0 or below out, and does not change
    # them. Rows and columns are as nibabel has them, transposed against that code's reader.
    folder = root_folder("men", root, "the folders 1fold, 2fold, 3fold and a clinical CSV")
    listing = Listing()
    home = listing.folder(folder, f"{fold}fold")
    if home is None:
        root_lacks(folder, f"folder {fold}fold")
    clinical = _clinical(folder, table, encoding, listing)
    patients, faults = _patients(folder, home, listing)
    faults += _check_cells(clinical)
    frame, unmatched = _joined(patients, clinical)
    faults += unmatched
    if faults:
        absent = [
            f"{patient}: {name} is not in {place}"
            for patient, place in zip(patients["patient"], patients["folder"])
            for name in FILES.values()
            if listing.file(folder, f"{place}/{name}") is None
        ]
        refuse("men", faults, absent)
    images = _images(sequences, size, shape)
    target = TargetColumn("grade", CLASSES)
    split = _split(frame, target.encode(frame).numpy(), validation, split_seed)
    schema = TableSchema.fit(
        frame, numerical=CLINICAL[2:], categorical=CLINICAL[:2], options=_OPTIONS, train=split.train
    )
    intensity = Intensity("channel" if sequences == "channels" and standardise == "image" else standardise)
    reader = CaseReader(
        targets={"label": target},
        images=images,
        id_column="patient",
        group_column="patient",
        intensities=dict.fromkeys(images, intensity),
    )
    note = (
        f"Fold {fold} of 3, by its folders; {len(split.validation) or 'none'} of its "
        f"{len(frame) - len(split.test)} training patients are the validation set"
        f"{', stratified' if len(split.validation) else ''}."
    )
    return published_plan(
        *("men", frame, folder, reader, split, schema, [note]), fold=fold - 1, subgroups=(sex(values=SEXES), age())
    )


def _split(frame: pd.DataFrame, labels: NDArray[np.int64], validation: float, seed: int) -> Split:
    parts, patients = frame["part"].tolist(), frame["patient"].tolist()
    if validation:
        return split_from_column(parts, labels, patients, test="test", share=validation, seed=seed)
    tested = np.asarray(parts) == "test"
    return Split(np.flatnonzero(~tested), np.empty(0, dtype=np.int64), np.flatnonzero(tested))


def _images(sequences: str, size: Sequence[int], shape: Sequence[int]) -> dict[str, Source]:
    volume = VolumeSource("folder", (size[0], size[1], size[2]), shape=(shape[0], shape[1], shape[2]), clip=CLIP)
    if sequences == "channels":
        return {"mri": StackSource(volume, tuple(FILES.values()))}
    return {name: replace(volume, column=f"{{folder}}/{file}") for name, file in FILES.items()}


def _clinical(folder: Path, table: Path | str | None, encoding: str | None, listing: Listing) -> pd.DataFrame:
    """The clinical table: the patient and the six columns, renamed."""
    if table is None:
        tables = [name for name, is_folder in listing.entries(folder).items() if not is_folder]
        tables = [name for name in tables if name.lower().endswith(SUFFIXES)]
        if len(tables) != 1:
            problem = f"has several tables, {', '.join(tables)}" if tables else "has no table (.csv)"
            raise FileNotFoundError(f"the root {folder} {problem}: give the clinical one, table=FILE")
        path = folder / tables[0]
    else:
        path = folder / table
    frame = read_table(path, encoding=encoding)
    last = _FIRST + len(CLINICAL)
    if frame.shape[1] < last:
        raise ValueError(
            f"{path} expects at least {last} columns, the first the patient's folder and the fifth to the tenth "
            f"{', '.join(CLINICAL)}; it has {frame.shape[1]}: {', '.join(map(str, frame.columns))}"
        )
    columns = [frame.iloc[:, 0], *(frame.iloc[:, _FIRST + i] for i in range(len(CLINICAL)))]
    return pd.DataFrame({name: column.to_numpy() for name, column in zip(("patient", *CLINICAL), columns)})


def _check_cells(clinical: pd.DataFrame) -> list[str]:
    """Faults of cells that do not fit their column, most often since columns are added or lacking."""
    faults = []
    for name, known in (("location", LOCATIONS), ("sex", SEXES)):
        valid = {*known, *known.values()}
        wrong = [f"row {row} {cell!r}" for row, cell in enumerate(texts(clinical, name)) if cell not in {*valid, None}]
        if wrong:
            place = _FIRST + CLINICAL.index(name) + 1
            meanings = ", ".join(f"{code} {word}" for code, word in known.items())
            faults.append(f"column {place} expects the {name}: {meanings}; {_some(wrong)}")
    for name, (low, high) in _RANGES.items():
        place = _FIRST + CLINICAL.index(name) + 1
        try:
            values = numbers(clinical, name)
        except ValueError as error:
            faults.append(f"column {place} expects the {name}: {error}")
            continue
        outside = np.flatnonzero((values < low) | (values > high))
        if len(outside):
            wrong = [f"row {row} {values[row]:g}" for row in outside]
            limits = f"from {low:g} to {high:g}" if np.isfinite(high) else f"of at least {low:g}"
            faults.append(f"column {place} expects the {name}, {limits}; {_some(wrong)}")
    return faults


def _patients(folder: Path, home: Path, listing: Listing) -> tuple[pd.DataFrame, list[str]]:
    """Each patient's folder with its set and grade, and faults of the folders."""
    rows: list[dict[str, str]] = []
    faults: list[str] = []
    for set_name in FOLDERS:
        place = listing.folder(home, set_name)
        if place is None:
            faults.append(f"{home} has no folder {set_name}")
            continue
        known = {name.casefold(): name for name in CLASSES}
        inside = [name for name, is_folder in listing.entries(place).items() if is_folder]
        for name in inside:
            if name.casefold() not in known:
                faults.append(f"{place} has the folder {name!r}, which is no class; known are: {', '.join(CLASSES)}")
                continue
            grade = known[name.casefold()]
            for patient, is_folder in listing.entries(place / name).items():
                if is_folder:
                    below = os.path.relpath(place / name / patient, folder).replace(os.sep, "/")
                    rows.append({"patient": patient, "part": set_name, "grade": grade, "folder": below})
        present = {name.casefold() for name in inside}
        faults += [f"{place} has no folder {grade}" for grade in CLASSES if grade.casefold() not in present]
    frame = pd.DataFrame(rows, columns=["patient", "part", "grade", "folder"])
    for person, folders in frame.groupby("patient", sort=True):
        if folders["part"].nunique() > 1:
            faults.append(
                f"patient {person!r} is in train and in test: {', '.join(folders['folder'])}. A patient must be in one "
                "set only, else results are too optimistic"
            )
        elif len(folders) > 1:
            faults.append(f"patient {person!r} has {len(folders)} folders: {', '.join(folders['folder'])}")
    return frame, faults


def _joined(patients: pd.DataFrame, clinical: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Folders and rows joined, in the order of the folders; faults for those without a match."""
    names = pd.Series(texts(clinical, "patient"), dtype=object)
    faults = [f"the clinical table has no patient in row {row}" for row in names.index[names.isna()]]
    counts = names.value_counts()
    for patient in counts.index[counts > 1]:
        rows = ", ".join(map(str, names.index[names == patient][:5]))
        faults.append(f"patient {patient!r} has {counts[patient]} rows in the clinical table: {rows}")
    with_folder, with_row = set(patients["patient"]), set(names.dropna())
    faults += [
        f"row {row} of the clinical table, {name!r}, has no folder"
        for row, name in enumerate(names)
        if name is not None and name not in with_folder
    ]
    for patient, place in zip(patients["patient"], patients["folder"]):
        if patient not in with_row:
            faults.append(f"the folder {place} has no row in the clinical table")
    row_of = {name: row for row, name in enumerate(names)}
    matched = clinical.iloc[[row_of.get(patient, 0) for patient in patients["patient"]]]
    return patients.assign(**{name: matched[name].to_numpy() for name in CLINICAL}), faults


def _some(wrong: Sequence[str]) -> str:
    return f"got {', '.join(wrong[:10])}" + (f" and {len(wrong) - 10} more rows" if len(wrong) > 10 else "")
