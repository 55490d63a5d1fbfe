import numpy as np
import pandas as pd
import pytest

from mmfusion.data import TableDataset
from mmfusion.data.datasets.split_column import column_split

LABELS = np.array([0, 1, 0, 1, 0, 1])
SETS = ["train", "train", "train", "train", "val", "val"]
OPTIONS = {"fractions": (0.7, 0.1, 0.2), "seed": 0, "fold": None, "folds": None, "file": None}


def split(sets: list[str], groups: list[str]) -> list[list[int]]:
    found = column_split(pd.DataFrame({"set": sets}), "set", LABELS, groups, **OPTIONS)
    return [rows.tolist() for rows in found]


def test_split_column_without_test_set() -> None:
    assert split(SETS, list("abcdef")) == [[0, 1, 2, 3], [4, 5], []]


def test_group_in_two_sets_raises() -> None:
    with pytest.raises(ValueError, match="group 'a' is in the train set and in the validation set"):
        split(SETS, list("abcdea"))


def test_training_set_only_raises() -> None:
    with pytest.raises(ValueError, match=r"no case has the value \['test'\] of the test set"):
        split(["train"] * 6, list("abcdef"))


def test_table_without_test_set() -> None:
    frame = pd.DataFrame({"age": np.arange(6.0), "set": SETS, "y": LABELS})
    bundle = TableDataset(frame, label="y", test="set").load()
    assert [len(bundle.train), len(bundle.validation), len(bundle.test)] == [4, 2, 0]
    assert [note for note in bundle.notes if "test set" in note] == []
