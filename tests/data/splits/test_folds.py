from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.data.splits import Split, check_folds, kfold, load_split, repeated_kfold, save_folds

owners = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), min_size=8, max_size=40)


def cases(rows: list[tuple[int, int]]) -> tuple[list[int], list[str]]:
    """Labels and groups of (label, cases) of each group."""
    return (
        [label for label, n in rows for _ in range(n)],
        [f"p{i}" for i, (_, n) in enumerate(rows) for _ in range(n)],
    )


@pytest.mark.slow
@given(owners, st.integers(2, 5), st.integers(0, 3))
def test_folds_partition_cases_and_keep_groups(rows, folds, seed):
    labels, groups = cases(rows)
    created = kfold(labels, groups, folds=folds, seed=seed)
    check_folds(created, groups)
    assert len(created) == folds
    assert sorted(np.concatenate([split.test for split in created]).tolist()) == list(range(len(labels)))
    for split in created:
        assert sorted(np.concatenate(split).tolist()) == list(range(len(labels)))
        parts = [{groups[i] for i in part} for part in split]
        assert not parts[0] & parts[1]
        assert not (parts[0] | parts[1]) & parts[2]
        for part in split:
            assert part.tolist() == sorted(part.tolist())
            assert part.dtype == np.int64
    again = kfold(np.array(labels), groups, folds=folds, seed=seed)
    assert all(np.array_equal(a, b) for item, other in zip(created, again) for a, b in zip(item, other))
    for label, n_groups in Counter(label for label, _ in rows).items():
        if n_groups >= folds:
            assert all(label in {labels[i] for i in split.test} for split in created)
        for split in created:
            left = {groups[i] for i in np.concatenate(split[:2]) if labels[i] == label}
            if len(left) >= 2:
                assert all(label in {labels[i] for i in part} for part in split[:2])


def test_fold_sizes_and_class_shares():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(400), rng.integers(1, 6, 400))
    labels = (rng.random(400) < 0.2).astype(int)[groups]
    for split in kfold(labels, groups.astype(str).tolist(), folds=5, validation=0.25, seed=2):
        for part, share in zip(split, (0.6, 0.2, 0.2)):
            assert len(part) == pytest.approx(share * len(labels), rel=0.03)
            assert labels[part].mean() == pytest.approx(labels.mean(), abs=0.02)


def test_folds_without_groups():
    labels = [0] * 40 + [1] * 10
    for split in kfold(labels, folds=5, validation=0.25):
        assert np.bincount(np.asarray(labels)[split.test]).tolist() == [8, 2]
        assert np.bincount(np.asarray(labels)[split.validation]).tolist() == [8, 2]


def test_repeats_use_next_seeds():
    labels = [0, 1] * 20
    repeats = repeated_kfold(labels, folds=4, repeats=3, seed=5)
    assert [len(folds) for folds in repeats] == [4, 4, 4]
    for r, folds in enumerate(repeats):
        alone = kfold(labels, folds=4, seed=5 + r)
        assert all(np.array_equal(a, b) for item, other in zip(folds, alone) for a, b in zip(item, other))
    assert not np.array_equal(repeats[0][0].test, repeats[1][0].test)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 1}, "folds expects int from 2 to 1000, got 1"),
        ({"folds": 2.0}, "folds expects int from 2 to 1000, got 2.0"),
        ({"validation": 0}, "validation expects float above 0 to below 1, got 0"),
        ({"folds": 7}, "7 sets need at least as many groups .*, got 6"),
        ({"groups": ["a"] * 6}, "5 sets need .* got 1"),
        ({"groups": ["a"]}, "one group per label, got 6 labels and 1 groups"),
        ({"folds": 2, "groups": list("aaabbb")}, "2 sets need .* got 1"),
    ],
)
def test_invalid_arguments_raise(options, message):
    with pytest.raises(ValueError, match=message):
        kfold([0, 1, 0, 1, 0, 1], **options)


def test_invalid_repeats_raise():
    with pytest.raises(ValueError, match="repeats expects"):
        repeated_kfold([0, 1] * 5, repeats=0)


def test_folds_file_round_trip(tmp_path):
    ids = [f"c{i}" for i in range(30)]
    groups = [f"p{i // 2}" for i in range(30)]
    folds, path = kfold([0, 1] * 15, groups, folds=3, seed=1), tmp_path / "folds.csv"
    save_folds(folds, ids, path)
    lines = path.read_text().splitlines()
    assert lines[0] == "id,fold,part"
    assert len(lines) == 1 + 90
    for fold, split in enumerate(folds):
        loaded = load_split(path, ids[::-1], groups[::-1], fold=fold)
        for part, again in zip(split, loaded):
            assert {ids[i] for i in part} == {ids[::-1][i] for i in again}
    with pytest.raises(ValueError, match="has folds: give one, fold=0 to 2"):
        load_split(path, ids, groups)
    with pytest.raises(ValueError, match="has no fold 3; it has: 0, 1, 2"):
        load_split(path, ids, groups, fold=3)
    with pytest.raises(ValueError, match="group 'x' is in the train set and in the validation"):
        load_split(path, ids, ["x"] * 30, fold=0)


def test_folds_testing_a_case_twice_raise(tmp_path):
    first, second = np.array([0]), np.array([1])
    rest = np.array([2, 3])
    split = Split(rest, first, second)
    with pytest.raises(ValueError, match=r"exactly one fold, but 3 of 4 .* case 0 first"):
        check_folds([split], list("abcd"))
    with pytest.raises(ValueError, match="fold 1: a split must have each case once"):
        check_folds([split, Split(first, second, np.array([2]))], list("abcd"))
    with pytest.raises(ValueError, match="fold 0: group 'a' is in the train set and in the validation set"):
        save_folds([split], list("aaaa"), tmp_path / "folds.csv")
