"""Runs of untrained models that are explained on a table of a few cases with images in files."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers import untrained_runs
from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.reader import CaseReader, TargetColumn
from mmfusion.data.schema.table_schema import TableSchema

EVIL = "<script>console.error('evil')</script><img src=x onerror=console.error(1)>"


def cases(root: Path, n: int = 6, names: tuple[str, ...] = ("good", "bad"), column: str = "age") -> pd.DataFrame:
    """Photographs of 40x30 pixels, two columns, a scanner; the second case lacks its age, the third its image."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(n):
        Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)).save(root / f"{i}.png")
    frame = pd.DataFrame(
        {
            "case": [f"c{i}" for i in range(n)],
            "file": [f"{i}.png" for i in range(n)],
            column: rng.normal(50, 9, n).round(1),
            "sex": [("female", "male")[i % 2] for i in range(n)],
            "scanner": [("A", "B", "B")[i % 3] for i in range(n)],
            "dx": [names[i % len(names)] for i in range(n)],
        }
    )
    frame.loc[1, column] = np.nan
    frame.loc[2, "file"] = None
    return frame


def reader_of(
    frame: pd.DataFrame, names: tuple[str, ...] = ("good", "bad"), column: str = "age", bag: int = 1
) -> CaseReader:
    return CaseReader(
        {"dx": TargetColumn("dx", names)},
        images={"photo": ImageSource("file", (16, 16), bag=bag)},
        schema=TableSchema.fit(pd.concat([frame] * 4), numerical=(column,), categorical=("sex",)),
        id_column="case",
    )


def run(place: Path, frame: pd.DataFrame, model: str = "concat", **options: Any) -> Path:
    """A run's folder, with threshold, temperature and calibration scores."""
    names = options.pop("names", ("good", "bad"))
    column, bag = options.pop("column", "age"), options.pop("bag", 1)
    locked = {"temperature": 1.5, "scores": [[0.1 * i for i in range(10)]] * len(names)}
    if len(names) == 2:
        locked["threshold"] = 0.5
    return untrained_runs.write(place, model, reader_of(frame, names, column, bag), locked=locked, **options)
