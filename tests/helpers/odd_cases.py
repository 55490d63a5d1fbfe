"""A reader of every kind of column, and new cases with odd cells and image files of every kind."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from mmfusion.data.images.intensity import Intensity
from mmfusion.data.reader import CaseReader, TargetColumn
from mmfusion.data.schema.table_schema import TableSchema


def training() -> pd.DataFrame:
    n = 12
    return pd.DataFrame(
        {
            "case": [f"c{i}" for i in range(n)],
            "photo": [f"p{i}.png" for i in range(n)],
            "age": [f"{20 + 3 * i}" for i in range(n)],
            "size": [f"{i},5 mm" for i in range(n)],
            "marker": [f"<{0.5}" if i == 3 else f"{i / 7:.2f}" for i in range(n)],
            "pressure": [f"{100 + i}/{60 + i}" for i in range(n)],
            "seen": [f"{1 + i:02d}.03.2019" for i in range(n)],
            "sex": ["Male", "female", "female "] * 4,
            "smoker": ["yes", "no", ""] * 4,
            "dx": ["good", "bad"] * 6,
        }
    )


def reader_of(sources: dict[str, Any], intensities: dict[str, Intensity] | None = None) -> CaseReader:
    schema = TableSchema.fit(
        training(),
        numerical=("age", "size", "marker", "pressure", "seen"),
        categorical=("sex", "smoker"),
        options={
            "size": {"outside": "clip"},
            "marker": {"censored": "flag"},
            "pressure": {"kind": "ratio"},
            "seen": {"kind": "date", "invalid": "missing"},
            "sex": {"min_cases": 5},
            "smoker": {"kind": "boolean"},
        },
    )
    classes = {"label": TargetColumn("dx", ("good", "bad"))}
    return CaseReader(classes, images=sources, schema=schema, id_column="case", intensities=intensities or {})


def new_cases() -> pd.DataFrame:
    """Odd cells of every kind, an image in another depth, mode or turn each, and one case without an image."""
    return pd.DataFrame(
        {
            "case": ["a", "b", "=c", "d", "e", "f", ""],
            "photo": ["A.PNG", "turned.jpg", "deep.png", "palette.png", "grey.png", "", "gone.png"],
            "age": ["50", "unknown", "1e9", " 33.0 ", "", "4.1e1", "NaN"],
            "size": ["3,5 mm", "99", "4", "1.234,5", "2 MM", "", "7,25"],
            "marker": ["<0.5", ">1", "0.3", "#DIV/0!", "", "1.2", "0.4"],
            "pressure": ["120/80", "", "101 / 61", "110/65 mmHg", "NA", "104/61", "109/68"],
            "seen": ["05.03.2019", "2019-03-04", "", "07.03.2019", "08.03.19", "", "01.02.2019"],
            "sex": ["MALE", "female", "diverse", "", " Female", "male", "female"],
            "smoker": ["Y", "no", "1", "off", "", "TRUE", "n/a"],
        }
    )  # fmt: skip


def photographs(folder: Path) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)

    def noise(*shape: int) -> np.ndarray:
        return rng.integers(0, 256, shape, dtype=np.uint8)

    Image.fromarray(noise(40, 30, 4)).save(folder / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(24, 50, 3)).save(folder / "turned.jpg", exif=exif)
    Image.fromarray(rng.integers(0, 65536, (20, 20), dtype=np.uint16)).save(folder / "deep.png")
    Image.fromarray(noise(33, 33, 3)).convert("P").save(folder / "palette.png", transparency=0)
    Image.fromarray(noise(16, 16)).save(folder / "grey.png")
