from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmfusion.data.splits import (
    check_split,
    grouped_stratified_split,
    kfold,
    make_split,
    save_folds,
    save_split,
    split_from_column,
)

LABELS = [0, 1] * 30
GROUPS = [f"p{i // 2}" for i in range(60)]
IDS = [f"c{i}" for i in range(60)]


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b))


def test_make_split_gives_split_or_fold():
    assert same(make_split(LABELS, GROUPS, seed=3), grouped_stratified_split(LABELS, GROUPS, seed=3))
    folds = kfold(LABELS, GROUPS, folds=4, validation=0.25, seed=3)
    for fold in range(4):
        created = make_split(LABELS, GROUPS, fractions=(0.6, 0.2, 0.2), seed=3, folds=4, fold=fold)
        assert same(created, folds[fold])
    assert same(make_split(LABELS, GROUPS, fractions=(0.6, 0.2, 0.2), seed=3, folds=4), folds[0])
    assert same(make_split(LABELS), grouped_stratified_split(LABELS, [str(i) for i in range(60)]))


def test_make_split_from_file(tmp_path):
    split, folds = make_split(LABELS, GROUPS, IDS, seed=1), kfold(LABELS, GROUPS, folds=3)
    save_split(split, IDS, tmp_path / "split.csv")
    save_folds(folds, IDS, tmp_path / "folds.csv")
    assert same(make_split(LABELS, GROUPS, IDS, seed=9, file=tmp_path / "split.csv"), split)
    assert same(make_split(LABELS, GROUPS, IDS, fold=2, file=str(tmp_path / "folds.csv")), folds[2])
    # Some cases left out are left out.
    frame = pd.read_csv(tmp_path / "split.csv")
    frame.iloc[5:].to_csv(tmp_path / "split.csv", index=False)
    assert sum(len(part) for part in make_split(LABELS, GROUPS, IDS, file=tmp_path / "split.csv")) == 55


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"fold": 1}, ValueError, "fold=1 needs the number of folds"),
        ({"folds": 3, "fold": 3}, ValueError, "fold expects a whole number from 0 to 2, got 3"),
        ({"folds": 3, "fold": -1}, ValueError, "fold expects int from 0 to 1000000 or none, got -1"),
        ({"folds": 3, "fractions": (0.5, 0.5)}, ValueError, "fractions expects 3 values"),
        ({"folds": 3, "file": "split.csv"}, ValueError, "read from a file or made of folds"),
        ({"file": "nowhere.csv"}, FileNotFoundError, r"split file nowhere\.csv does not exist"),
        ({"fractions": (0.5, 0.5, 0.5)}, ValueError, "sum to 1"),
    ],
)
def test_invalid_options_raise(options, error, message):
    with pytest.raises(error, match=message):
        make_split(LABELS, GROUPS, IDS, **options)


def test_split_from_column():
    fold = [i // 2 % 5 for i in range(60)]
    split = split_from_column(fold, LABELS, GROUPS, test=4, share=0.25)
    assert split.test.tolist() == [i for i in range(60) if fold[i] == 4]
    assert len(split.validation) == 12
    assert np.asarray(LABELS)[split.validation].mean() == 0.5
    check_split(split, GROUPS, 60)
    named = split_from_column(fold, LABELS, GROUPS, test=[3, 4], validation=0)
    assert [len(part) for part in named] == [24, 12, 24]
    parts = ["train", "valid", "test"] * 20
    assert [len(part) for part in split_from_column(parts, LABELS, test="test", validation="valid")] == [20, 20, 20]


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([0, 1, 1, 2], {"test": 5}, r"no case has the value \['5'\] of the test set; the column has: 0, 1, 2"),
        ([0, 1, 1, 2], {"test": ()}, "no case has the value \\(none is given\\) of the test set"),
        ([0, 1, 1, 2], {"test": 2, "validation": [0, 7]}, r"no case has the value \['7'\] of the validation set"),
        ([0, 1, 2, 2], {"test": 2, "validation": 0}, "group 'b' is in the train set and in the test set"),
        ([0, 1, 1, 1], {"test": 1, "validation": 1}, "in the validation set and in the test set"),
        ([0, 1, 1, 2], {"test": 2, "share": 1.0}, "share expects"),
        ([0, 1], {"test": 1}, "as many values and groups as labels, got 2, 4, 4"),
    ],
)
def test_invalid_split_columns_raise(values, options, message):
    with pytest.raises(ValueError, match=message):
        split_from_column(values, [0, 1, 0, 1], ["a", "b", "b", "c"], **options)


@pytest.mark.slow
def test_class_shares_of_ham10000_are_kept(real_ham10000: Path):
    """By the table's counts: a class's share of a set equals its share of the data to half a percent."""
    frame = pd.read_csv(real_ham10000 / "HAM10000_metadata.csv")
    labels, groups = frame["dx"].to_numpy(), frame["lesion_id"].tolist()
    overall = frame["dx"].value_counts(normalize=True)
    codes = frame["dx"].astype("category").cat.codes.to_numpy()
    for split, fractions in (
        (make_split(codes, groups), (0.7, 0.1, 0.2)),
        (make_split(codes, groups, folds=5, fold=3), (0.7, 0.1, 0.2)),
        (make_split(codes, groups, seed=1, fractions=(0.5, 0.25, 0.25)), (0.5, 0.25, 0.25)),
    ):
        check_split(split, groups, len(frame))
        for part, fraction in zip(split, fractions):
            shares = pd.Series(labels[part]).value_counts(normalize=True)
            assert set(shares.index) == set(overall.index)
            assert (shares - overall).abs().max() < 0.005
            assert len(part) == pytest.approx(fraction * len(frame), rel=0.01)
