"""Derm7pt: dermoscopy, clinical photograph and metadata of skin lesions (Kawahara et al., IEEE JBHI 23:538, 2019)."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from mmfusion.data.datasets.plan import Plan
from mmfusion.data.datasets.planned import planned_dataset
from mmfusion.data.datasets.published import (
    invalid_cells,
    published_plan,
    refuse_published,
    repeated_names,
    root_folder,
    root_lacks,
)
from mmfusion.data.images.listing import Listing
from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.reader import CaseReader, TargetColumn
from mmfusion.data.schema.cells import require_columns
from mmfusion.data.schema.columns import CategoricalColumn
from mmfusion.data.schema.subgroups import sex
from mmfusion.data.schema.table_file import read_table
from mmfusion.data.schema.table_schema import TableSchema
from mmfusion.data.splits import SETS, Split
from mmfusion.options import Pixels

TABLE = "meta/meta.csv"
INDEXES = {"train": "meta/train_indexes.csv", "validation": "meta/valid_indexes.csv", "test": "meta/test_indexes.csv"}
IMAGES = ("derm", "clinic")
NEVI = ("blue", "clark", "combined", "congenital", "dermal", "recurrent", "reed or spitz")
MELANOMAS = ("in situ", "less than 0.76 mm", "0.76 to 1.5 mm", "more than 1.5 mm")
DIAGNOSES: Mapping[str, str] = {
    "basal cell carcinoma": "BCC",
    **{f"{name} nevus": "NEV" for name in NEVI},
    "melanoma": "MEL",
    **{f"melanoma ({name})": "MEL" for name in MELANOMAS},
    "melanoma metastasis": "MEL",
    **dict.fromkeys(("dermatofibroma", "lentigo", "melanosis", "miscellaneous", "vascular lesion"), "MISC"),
    "seborrheic keratosis": "SK",
}
"""The table's diagnoses, and the five classes of the dataset's paper."""
_GRADED = {"absent": ("absent",), "regular": ("regular",), "irregular": ("irregular",)}
CRITERIA: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "pigment_network": {"absent": ("absent",), "typical": ("typical",), "atypical": ("atypical",)},
    "streaks": _GRADED,
    "pigmentation": {
        "absent": ("absent",),
        "regular": ("diffuse regular", "localized regular"),
        "irregular": ("diffuse irregular", "localized irregular"),
    },
    "regression_structures": {"absent": ("absent",), "present": ("blue areas", "white areas", "combinations")},
    "dots_and_globules": _GRADED,
    "blue_whitish_veil": {"absent": ("absent",), "present": ("present",)},
    "vascular_structures": {
        "absent": ("absent",),
        "regular": ("arborizing", "comma", "hairpin", "within regression", "wreath"),
        "irregular": ("dotted", "linear irregular"),
    },
}
"""The seven criteria, their classes, and the table's finer findings in each; as the paper groups them."""
PUBLISHED: Mapping[str, Mapping[str, Mapping[str, int]]] = {
    "nev-mel": {
        "train": {"NEV": 256, "MEL": 90},
        "validation": {"NEV": 100, "MEL": 61},
        "test": {"NEV": 219, "MEL": 101},
    },
    "diagnosis": {"train": {"": 413}, "validation": {"": 203}, "test": {"": 395}},
    "criteria": {"train": {"": 413}, "validation": {"": 203}, "test": {"": 395}},
}
FEATURES: Mapping[str, CategoricalColumn] = {
    column.name: column
    for column in (
        CategoricalColumn(
            "level_of_diagnostic_difficulty",
            ("low", "medium", "high"),
            "ordinal",
            template="The level of diagnostic difficulty is {value}",
        ),
        CategoricalColumn(
            "elevation", ("flat", "palpable", "nodular"), "ordinal", template="The lesion elevation is {value}"
        ),
        CategoricalColumn(
            "location",
            (
                "abdomen",
                "acral",
                "back",
                "buttocks",
                "chest",
                "genital areas",
                "head neck",
                "lower limbs",
                "upper limbs",
            ),
            template="The lesion location is {value}",
        ),
        CategoricalColumn("sex", ("female", "male"), template="The sex of patient is {value}"),
        CategoricalColumn(
            "management",
            ("clinical follow up", "excision", "no further examination"),
            template="The management for the patient is {value}",
        ),
    )
}
COLUMNS = {"clean": ("elevation", "location", "sex"), "parity": tuple(FEATURES)}
LEAK = (
    "columns='parity' has management as a feature, which was decided after the diagnosis: every melanoma of this "
    "dataset was excised, so that the column leaks the label. It is for comparison with work that uses it; "
    "columns='clean', the default, leaves it out, with the level of diagnostic difficulty."
)


@planned_dataset("derm7pt")
def derm7pt(
    *,
    root: Path | str | None = None,
    size: Pixels = 224,
    task: Literal["nev-mel", "diagnosis", "criteria"] = "nev-mel",
    columns: Literal["clean", "parity"] = "clean",
    colours: Literal["rgb", "bgr"] = "rgb",
) -> Plan:
    """Derm7pt in its official layout and split; modalities "derm", "clinic" and "meta".

    Args:
        root: Folder with ``images`` and ``meta``. The case of file names is ignored, as it differs between
            the table and the files.
        size: Pixels along each side to which images are resized.
        task: "nev-mel": nevus or melanoma, the others left out; "diagnosis": five classes; "criteria": the seven
            criteria, as seven targets. The target of the first two is "label".
        columns: "clean": elevation, location, sex; or "parity": the level of diagnostic difficulty and the management
            too, as in CFCML's code; the second leaks the label.
        colours: Order of the color channels; "bgr" as in CFCML's code, only for parity with it.

    Raises:
        ValueError: If a table or an image is invalid; lists all faults of the tables.
        FileNotFoundError: If the root, a table or images are missing.
    """
    targets = _targets(task)
    folder = root_folder("derm7pt", root, "the folders images and meta, as release_v0.zip has them")
    frame, split, faults = _read(folder)
    faults += repeated_names(frame, "case_num")
    schema = TableSchema(categorical=tuple(FEATURES[name] for name in COLUMNS[columns]))
    faults += invalid_cells(frame, schema)
    # A misspelt diagnosis must not count as one that the task leaves out.
    for target in (_targets("diagnosis") if task == "nev-mel" else targets).values():
        faults += target.faults(frame)
    images = {name: ImageSource(name, (size, size), folders=("images",), order=colours) for name in IMAGES}
    reader = CaseReader(targets=targets, images=images, id_column="case_num")
    refuse_published("derm7pt", faults, reader, frame, folder)
    if task == "nev-mel":
        frame, split = _nevi_and_melanomas(frame, split)
    _check_classes(frame, split, targets)
    notes = [
        "Derm7pt (Kawahara et al. 2019, doi 10.1109/JBHI.2018.2824327) in its official split; the images may not be "
        "passed on.",
        "The seven criteria and their score come from the same images as the diagnosis, and are never features.",
    ]
    if same := sum(a == b for a, b in zip(frame["derm"], frame["clinic"])):
        notes.append(f"In {same} cases the clinical image is the same as the dermoscopic one.")
    if columns == "parity":
        warnings.warn(LEAK, stacklevel=4)
        notes.append(LEAK)
    return published_plan(
        "derm7pt", frame, folder, reader, split, schema, notes, published=PUBLISHED[task], subgroups=(sex(),)
    )


def _targets(task: str) -> dict[str, TargetColumn]:
    if task == "nev-mel":
        kept = {name: short for name, short in DIAGNOSES.items() if short in ("NEV", "MEL")}
        return {"label": TargetColumn("diagnosis", ("NEV", "MEL"), kept)}
    if task == "diagnosis":
        return {"label": TargetColumn("diagnosis", ("BCC", "NEV", "MEL", "MISC", "SK"), DIAGNOSES)}
    return {
        name: TargetColumn(name, tuple(groups), {cell: group for group, cells in groups.items() for cell in cells})
        for name, groups in CRITERIA.items()
    }


def _read(folder: Path) -> tuple[pd.DataFrame, Split, list[str]]:
    """The table, the official split of all its rows, and faults of both."""
    listing = Listing()
    paths = {name: listing.file(folder, name) for name in (TABLE, *INDEXES.values())}
    if lacking := [name for name, path in paths.items() if path is None]:
        root_lacks(folder, ", ".join(lacking))
    files: dict[str, Path] = {name: path for name, path in paths.items() if path is not None}
    frame = read_table(files[TABLE])
    require_columns(frame, ["case_num", "diagnosis", *CRITERIA, *FEATURES, *IMAGES], what=str(files[TABLE]))
    faults: list[str] = []
    file_of: dict[int, str] = {}
    sets: dict[str, list[int]] = {set_name: [] for set_name in SETS}
    for set_name, name in INDEXES.items():
        rows = read_table(files[name])
        require_columns(rows, ["indexes"], what=str(files[name]))
        for cell in rows["indexes"].astype(str):
            place = int(cell) if cell.strip().isdecimal() else -1
            if not 0 <= place < len(frame):
                faults.append(f"{name} expects positions from 0 to {len(frame) - 1} in {TABLE}, got {cell!r}")
            elif place in file_of:
                faults.append(f"position {place} of {TABLE} is in {file_of[place]} and in {name}")
            else:
                file_of[place] = name
                sets[set_name].append(place)
    if left := sorted(set(range(len(frame))) - set(file_of)):
        some = ", ".join(map(str, left[:10]))
        faults.append(f"{len(left)} row(s) of {TABLE} are not in any of the three index files: positions {some}")
    return frame, Split(*(np.array(sorted(sets[set_name]), dtype=np.int64) for set_name in SETS)), faults


def _nevi_and_melanomas(frame: pd.DataFrame, split: Split) -> tuple[pd.DataFrame, Split]:
    codes = _targets("diagnosis")["label"].encode(frame).numpy()
    kept = np.flatnonzero((codes == 1) | (codes == 2))
    place = np.full(len(frame), -1, dtype=np.int64)
    place[kept] = np.arange(len(kept))
    # The rows keep their labels: a message names the row of the file.
    return frame.iloc[kept], Split(*(place[rows][place[rows] >= 0] for rows in split))


def _check_classes(frame: pd.DataFrame, split: Split, targets: Mapping[str, TargetColumn]) -> None:
    if not len(frame):
        raise ValueError(f"{TABLE} has no nevus and no melanoma: choose task 'diagnosis'")
    empty = [name for name, rows in zip(SETS, split) if not len(rows)]
    if empty:
        raise ValueError(f"the {', '.join(empty)} set of derm7pt has no case of the task's classes")
    for target in targets.values():
        target.encode(frame)
