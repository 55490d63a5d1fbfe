from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from helpers import trees
from mmfusion.data import DataBundle
from mmfusion.data.datasets.men import SEXES
from mmfusion.data.datasets.table import TableDataset
from mmfusion.data.schema.subgroups import Subgroup, age, by_columns, sex, skin_type
from mmfusion.registry import datasets


@pytest.mark.parametrize(
    ("item", "cells", "values"),
    [
        (sex(), ["male", "FEMALE", "", "f", "unknown"], ["male", "female", "unknown", "female", "unknown"]),
        (sex(values=SEXES), ["0", "1", None], ["female", "male", "unknown"]),
        (
            age(),
            [39.9, 40, 59, 60, np.nan, 95],
            ["below 40", *["40 to 60"] * 2, "60 and over", "unknown", "60 and over"],
        ),
        (age(), ["30", "", "70"], ["below 40", "unknown", "60 and over"]),
        (skin_type("it"), ["1", "6.0", None, "3"], ["1", "6", "unknown", "3"]),
        (skin_type("it"), [1.0, 2.0, np.nan, 4.0], ["1", "2", "unknown", "4"]),
        (Subgroup("site", "it"), ["Arm", "arm ", "leg"], ["Arm", "Arm", "leg"]),
        (Subgroup("size", "it", edges=(1.5,)), [1, 2], ["below 1.5", "1.5 and over"]),
    ],
)
def test_values_of_cells(item: Subgroup, cells: list[Any], values: list[str]) -> None:
    assert item.of(pd.DataFrame({item.column: cells})) == values


def test_missing_column_gives_unknown() -> None:
    assert age().of(pd.DataFrame({"sex": ["m", "f"]})) == ["unknown", "unknown"]


def test_invalid_inputs_raise_or_are_unknown() -> None:
    with pytest.raises(ValueError, match="ascending edges"):
        Subgroup("age", "age", edges=(60, 40))
    assert age().of(pd.DataFrame({"age": ["old", "<30"]})) == ["unknown", "below 40"]
    frame = pd.DataFrame({"sex": ["m", "f"]})
    with pytest.raises(ValueError, match="height"):
        by_columns(["sex", "height"], frame, frame)
    with pytest.raises(ValueError, match="each column once"):
        by_columns(["sex", "sex"], frame, frame)


def test_numbers_are_cut_into_training_thirds() -> None:
    frame = pd.DataFrame({"age": [*range(1, 10), 500.0, np.nan], "few": [1, 2] * 5 + [1], "none": [None] * 11})
    result = by_columns(["age", "few", "none"], frame, frame.iloc[:9])
    # The tertiles of 1 to 9 are 1 + 8/3 and 1 + 16/3, said and taken with six digits.
    assert result[0].edges == (3.66667, 6.33333)
    assert result[0].of(frame) == (
        ["below 3.66667"] * 3 + ["3.66667 to 6.33333"] * 3 + ["6.33333 and over"] * 4 + ["unknown"]
    )
    assert result[1].of(frame)[:2] == ["1", "2"]
    assert set(result[2].of(frame)) == {"unknown"}


def test_table_subgroups_by_option() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"sex": ["f", "m"] * 30, "age": rng.permutation(60), "size": rng.normal(size=60), "dx": ["a", "b", "b"] * 20}
    )
    bundle = TableDataset(frame, label="dx", subgroups=["sex", "age"], drop=["sex"]).load()
    assert [item.name for item in bundle.subgroups] == ["sex", "age"]
    assert bundle.subgroups[0].of(bundle.test.frame) == bundle.test.frame["sex"].tolist()
    edges = np.quantile(bundle.train.frame["age"], [1 / 3, 2 / 3])
    assert bundle.subgroups[1].edges == pytest.approx(edges, rel=1e-5)
    assert "sex" not in str(bundle.spec.tables["meta"])
    assert TableDataset(frame, label="dx").load().subgroups == ()
    assert [item.column for item in TableDataset(frame, label="dx", subgroups="sex").load().subgroups] == ["sex"]


def explicit(bundle: DataBundle) -> dict[str, list[str]]:
    """Of the test part's cases."""
    return {item.name: item.of(bundle.test.frame) for item in bundle.subgroups}


def bands(cells: pd.Series) -> list[str]:
    ages = pd.to_numeric(cells.replace("", None))
    return [
        "unknown" if np.isnan(x) else "below 40" if x < 40 else "40 to 60" if x < 60 else "60 and over" for x in ages
    ]


def test_subgroups_of_ham10000(ham_root: Path) -> None:
    bundle = datasets.create("ham10000", root=ham_root, size=8)
    frame = bundle.test.frame
    assert explicit(bundle) == {"sex": frame["sex"].tolist(), "age": bands(frame["age"])}


@pytest.mark.slow
def test_subgroups_of_pad_ufes_20(tmp_path: Path) -> None:
    bundle = datasets.create("pad_ufes_20", root=trees.pad_ufes_20(tmp_path), size=8)
    frame, result = bundle.test.frame, explicit(bundle)
    assert result["sex"] == [cell.lower() or "unknown" for cell in frame["gender"]]
    assert result["age"] == bands(frame["age"])
    assert result["skin type"] == [cell.removesuffix(".0") or "unknown" for cell in frame["fitspatrick"]]
    assert "unknown" in result["skin type"]
    assert len(set(result["skin type"])) > 2


@pytest.mark.slow
def test_subgroups_of_derm7pt_and_men(tmp_path: Path) -> None:
    bundle = datasets.create("derm7pt", root=trees.derm7pt(tmp_path / "derm7pt"), size=8)
    assert explicit(bundle) == {"sex": bundle.test.frame["sex"].tolist()}
    root = trees.men(tmp_path / "men")
    small = {"size": trees.VOLUME, "shape": trees.VOLUME, "validation": 0.25}
    bundle = datasets.create("men", root=root, **small)
    frame = bundle.test.frame
    assert explicit(bundle) == {
        "sex": [{"0": "female", "1": "male", "": "unknown"}[str(cell)] for cell in frame["sex"]],
        "age": bands(frame["age"]),
    }


@pytest.mark.parametrize("name", ["synthetic_derm7pt", "synthetic_men"])
def test_subgroups_of_synthetic_datasets(name: str) -> None:
    small = {"n_train": 8, "n_validation": 4, "n_test": 30}
    size = {"size": 32} if name == "synthetic_derm7pt" else {}
    result = explicit(datasets.create(name, **small, **size))
    assert list(result) == ["sex", "age"]
    assert set(result["sex"]) == {"female", "male"}
    assert len(set(result["age"])) > 1
