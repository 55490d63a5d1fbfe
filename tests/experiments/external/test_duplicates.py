from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmfusion.data.frame import FrameDataset
from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.reader import CaseReader, TargetColumn
from mmfusion.data.schema.table_schema import TableSchema
from mmfusion.experiments import folder
from mmfusion.experiments.external.duplicates import duplicates, shared_names
from mmfusion.experiments.external.training_cases import TrainingCases
from mmfusion.experiments.predictor import Predictor


def frame(n: int, seed: int, prefix: str) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    names = [f"{prefix}{i}" for i in range(n)]
    return pd.DataFrame({"case": names, "patient": names, "age": rng.normal(50, 10, n), "size": rng.normal(size=n)})


def pictures(n: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    small = F.interpolate(torch.rand(n, 3, 6, 6, generator=generator), (32, 32), mode="bilinear")
    return (small * 255).to(torch.uint8)


TRAIN = frame(40, 0, "t")
READER = CaseReader(
    {"label": TargetColumn("dx", ("good", "bad"))},
    images={"derm": ImageSource("photo", (32, 32))},
    schema=TableSchema.fit(TRAIN, numerical=("age", "size")),
    id_column="case",
    group_column="patient",
)
MEMBER = Predictor(nn.Identity(), READER, device=torch.device("cpu"))


def cases(table: pd.DataFrame, images: torch.Tensor) -> FrameDataset:
    return READER.assemble(table, {"derm": images}, with_targets=False)


def own(table: pd.DataFrame = TRAIN) -> TrainingCases:
    train = cases(table, pictures(40, 0))
    return TrainingCases(train, train, None, ())


def test_new_cases_have_no_duplicates() -> None:
    assert duplicates(MEMBER, own(), cases(frame(30, 1, "n"), pictures(30, 1))) == ([], [])


def test_copied_images_and_rows_are_found() -> None:
    table, images = frame(6, 1, "n"), pictures(6, 1)
    table.loc[0, ["age", "size"]] = TRAIN.loc[7, ["age", "size"]].astype(float)
    images[1] = pictures(40, 0)[8]
    # Saved anew: a little brighter, and with noise.
    generator = torch.Generator().manual_seed(2)
    noise = torch.randint(-2, 3, images[2].shape, generator=generator)
    images[2] = (pictures(40, 0)[9].int() + 5 + noise).clamp(0, 255).to(torch.uint8)
    found, notes = duplicates(MEMBER, own(), cases(table, images))
    assert [(one.case, one.training) for one in found] == [("n1", "t8"), ("n2", "t9"), ("n0", "t7")]
    assert found[0].what == "the image derm"
    assert found[1].what.startswith("nearly the image derm, correlation 0.9")
    assert found[2].what == "all columns that the model reads"
    assert notes == []


def test_common_rows_are_noted_and_not_duplicates() -> None:
    common = TRAIN.assign(age=50.0, size=np.repeat([0.0, 1.0], 20))
    found, notes = duplicates(MEMBER, own(common), cases(frame(3, 1, "n").assign(age=50.0, size=1.0), pictures(3, 1)))
    assert found == []
    assert "100% of the training cases have the row of another patient" in notes[0]
    # Nor do rows without any value.
    empty = frame(3, 1, "n").assign(age=None, size=None)
    assert duplicates(MEMBER, own(), cases(empty, pictures(3, 1)))[0] == []


@pytest.mark.slow
def test_constant_or_absent_images_are_no_duplicates() -> None:
    train = cases(TRAIN, torch.zeros(40, 3, 32, 32, dtype=torch.uint8))
    other = cases(frame(3, 1, "n"), torch.zeros(3, 3, 32, 32, dtype=torch.uint8))
    assert duplicates(MEMBER, TrainingCases(train, train, None, ()), other)[0] == []
    absent = READER.assemble(
        frame(3, 1, "n"), {"derm": pictures(40, 0)[:3]}, with_targets=False, present={"derm": torch.zeros(3).bool()}
    )
    assert duplicates(MEMBER, own(), absent)[0] == []


def test_shared_names_need_only_the_run_folder(tmp_path: Path) -> None:
    other = frame(3, 1, "n")
    assert shared_names(tmp_path, READER, other) == []
    pd.DataFrame({"id": ["n1", "n2"], "group": ["n0", "z"], "part": ["train", "test"]}).to_csv(
        tmp_path / folder.SPLITS, index=False
    )
    assert [(one.case, one.what) for one in shared_names(tmp_path, READER, other)] == [
        ("n1", "name"),
        ("n0", "name of the patient"),
    ]
    assert shared_names(tmp_path, READER, other.drop(columns=["case", "patient"])) == []


@pytest.mark.parametrize("n", [1, 2])
def test_few_training_cases(n: int) -> None:
    train = cases(TRAIN.iloc[:n], pictures(n, 0))
    found, _ = duplicates(MEMBER, TrainingCases(train, train, None, ()), cases(frame(3, 1, "n"), pictures(3, 0)))
    assert len(found) == n
