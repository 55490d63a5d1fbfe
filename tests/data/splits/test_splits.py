import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfusion.data.splits import (
    SETS,
    Split,
    check_split,
    grouped_stratified_split,
    load_split,
    save_split,
    stratified_split,
)

cases = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=3, max_size=120).filter(
    lambda rows: len({group for _, group in rows}) >= 3
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(cases, st.integers(0, 5))
def test_split_partitions_cases_and_keeps_groups(rows, seed):
    labels, groups = [label for label, _ in rows], [f"p{group}" for _, group in rows]
    split = grouped_stratified_split(labels, groups, seed=seed)
    assert sorted(np.concatenate(split).tolist()) == list(range(len(rows)))
    owners = [{groups[i] for i in part} for part in split]
    assert all(owners)
    assert not owners[0] & owners[1]
    assert not owners[0] & owners[2]
    assert not owners[1] & owners[2]
    again = grouped_stratified_split(np.array(labels), groups, seed=seed)
    assert all(np.array_equal(a, b) for a, b in zip(split, again))


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=9, max_size=80), st.integers(0, 3))
def test_class_of_three_groups_is_in_every_set(labels, seed):
    split = grouped_stratified_split(labels, [str(i) for i in range(len(labels))], seed=seed)
    for label in set(labels):
        if labels.count(label) >= 3:
            assert all(label in {labels[i] for i in part} for part in split)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), min_size=9, max_size=40), st.integers(0, 3))
def test_class_of_three_larger_groups_is_in_every_set(owners, seed):
    labels = [label for label, n in owners for _ in range(n)]
    groups = [str(i) for i, (_, n) in enumerate(owners) for _ in range(n)]
    split = grouped_stratified_split(labels, groups, seed=seed)
    for label in {label for label, _ in owners}:
        if sum(other == label for other, _ in owners) >= 3:
            assert all(label in {labels[i] for i in part} for part in split)


def test_mixed_groups_are_swapped_for_lacking_classes():
    # Classes 0 and 1 have three groups each. Dealing one group after the other leaves test without class 1.
    labels, groups = [0, 2, 2, 0, 1, 1, 1, 0], list("14043013")
    split = grouped_stratified_split(labels, groups)
    assert all({0, 1} <= {labels[i] for i in part} for part in split)


def test_split_without_groups():
    labels = [0] * 70 + [1] * 30
    split = stratified_split(labels, seed=4)
    assert [np.bincount(np.asarray(labels)[part]).tolist() for part in split] == [[49, 21], [7, 3], [14, 6]]
    same = grouped_stratified_split(labels, [str(i) for i in range(100)], seed=4)
    assert all(np.array_equal(a, b) for a, b in zip(split, same))


def test_class_shares_are_kept():
    labels = [0] * 700 + [1] * 200 + [2] * 100
    split = grouped_stratified_split(labels, range(1000), fractions=(0.7, 0.1, 0.2), seed=3)
    counts = [np.bincount([labels[i] for i in part]).tolist() for part in split]
    assert counts == [[490, 140, 70], [70, 20, 10], [140, 40, 20]]


def test_grouped_split_nearly_keeps_shares():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(400), rng.integers(1, 6, 400))
    labels = (rng.random(400) < 0.2).astype(int)[groups]
    split = grouped_stratified_split(labels, groups.tolist(), seed=1)
    check_split(split, groups.tolist(), n=len(labels))
    for part, fraction in zip(split, (0.7, 0.1, 0.2)):
        assert len(part) == pytest.approx(fraction * len(labels), abs=6)
        assert labels[part].mean() == pytest.approx(labels.mean(), abs=0.02)


def test_split_depends_on_seed():
    labels = [0, 1] * 50
    first, second = (grouped_stratified_split(labels, range(100), seed=seed) for seed in (0, 1))
    assert not np.array_equal(first.test, second.test)


@pytest.mark.parametrize(
    ("labels", "groups", "fractions", "message"),
    [
        ([0, 1, 0], ["a", "b"], (0.7, 0.1, 0.2), "one group per label, got 3 labels and 2 groups"),
        ([0, 1, 0], ["a", "b", "b"], (0.7, 0.1, 0.2), "3 sets need at least as many groups .*, got 2"),
        ([0, 1, 0], ["a", "b", "c"], (0.7, 0.1, 0.1), "sum to 1"),
        ([0, 1, 0], ["a", "b", "c"], (0.9, 0.0, 0.1), "above 0 to below 1"),
        ([0, 1, 0], ["a", "b", "c"], (0.5, 0.5), "fractions expects 3 values"),
    ],
)
def test_invalid_arguments_raise(labels, groups, fractions, message):
    with pytest.raises(ValueError, match=message):
        grouped_stratified_split(labels, groups, fractions=fractions)


def test_split_file_round_trip(tmp_path):
    ids = [f"c{i}" for i in range(30)]
    split = grouped_stratified_split([0, 1] * 15, ids, seed=2)
    save_split(split, ids, tmp_path / "split.csv")
    assert (tmp_path / "split.csv").read_text().splitlines()[0] == "id,part"
    # The positions follow the names, in whatever order they stand now.
    turned = ids[::-1]
    loaded = load_split(tmp_path / "split.csv", turned, turned)
    for part, again in zip(split, loaded):
        assert {ids[i] for i in part} == {turned[i] for i in again}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,fold\na,train\n", "expects the columns id and part"),
        ("id,part\na,train\nb,validation\nc,exam\n", r"got \['exam'\]"),
        ("id,part\na,train\nb,validation\nz,test\n", "1 case.*the first is 'z'"),
        ("id,part\na,train\nb,validation\nc,test\nb,test\n", "1 case.* more than once, the first is 'b'"),
        ("", "cannot be read as a CSV table"),
        ("id,part\na,train\nb,validation\n", "the test set of the split is empty"),
        ("id,part\na,train\nb,validation\nc,test\nd,test\n", "group 'p' is in the train set and in the test set"),
    ],
)
def test_invalid_split_files_raise(tmp_path, text, message):
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_split(tmp_path / "split.csv", ["a", "b", "c", "d"], ["p", "q", "r", "p"])


def test_case_in_two_sets_raises():
    item = np.array([0])
    with pytest.raises(ValueError, match="in one set only"):
        check_split(Split(item, np.array([1]), item), ["a", "b"])
    with pytest.raises(ValueError, match="3 entries of 4"):
        check_split(Split(item, np.array([1]), np.array([2])), ["a", "b", "c", "d"], n=4)
    assert Split._fields == SETS
