from collections import Counter

import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfusion.data.samplers import ClassBalancedBatches, GroupedBatches, ShuffledBatches, WeightedBatches


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 3))
def test_shuffled_batches_have_every_case(n, batch_size, epoch):
    sampler = ShuffledBatches(n, batch_size=batch_size, seed=1)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert {i for batch in batches for i in batch} == set(range(n))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert all(len(set(batch)) == len(batch) for batch in batches if batch_size > 1)
    assert list(sampler) == batches


@pytest.mark.parametrize(("n", "batch_size", "sizes"), [(9, 4, [4, 4, 2]), (10, 4, [4, 4, 2]), (8, 4, [4, 4])])
def test_no_batch_of_a_single_case(n, batch_size, sizes):
    batches = list(ShuffledBatches(n, batch_size=batch_size))
    assert [len(batch) for batch in batches] == sizes
    # Nine cases in threes of four: one case stands twice in the epoch, to keep the last one company.
    assert sum(Counter(i for batch in batches for i in batch).values()) == sum(sizes)


def test_batch_of_one_if_unavoidable():
    assert list(ShuffledBatches(1, batch_size=4)) == [[0]]
    assert sorted(ShuffledBatches(3, batch_size=1)) == [[0], [1], [2]]


@pytest.mark.parametrize(
    "sampler",
    [
        ShuffledBatches(40, batch_size=8, seed=3),
        ClassBalancedBatches([0] * 30 + [1] * 10, batch_size=8, seed=3),
        WeightedBatches([0] * 30 + [1] * 10, batch_size=8, seed=3),
        GroupedBatches([str(i // 3) for i in range(40)], batch_size=8, seed=3),
    ],
)
def test_seed_and_epoch_determine_everything(sampler):
    sampler.set_epoch(0)
    first = list(sampler)
    sampler.set_epoch(5)
    fifth = list(sampler)
    assert fifth != first
    sampler.set_epoch(0)
    torch.rand(7)
    assert list(sampler) == first
    sampler.seed = 4
    assert list(sampler) != first


@settings(deadline=None)
@given(st.lists(st.integers(0, 2), min_size=6, max_size=60), st.integers(3, 16), st.integers(0, 3))
def test_balanced_batches_have_equal_class_counts(labels, batch_size, epoch):
    n_classes = len(set(labels))
    sampler = ClassBalancedBatches(torch.tensor(labels), batch_size=batch_size, seed=2)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler) == -(-len(labels) // batch_size)
    share = batch_size // n_classes
    assert sampler.batch_size == share * n_classes
    for batch in batches:
        assert Counter(labels[i] for i in batch) == dict.fromkeys(set(labels), share)
    # No case comes again before all of its class have come.
    drawn = Counter(i for batch in batches for i in batch)
    for label in set(labels):
        times = [drawn[i] for i, other in enumerate(labels) if other == label]
        assert max(times) - min(times) <= 1


def test_small_class_is_reshuffled_each_pass():
    labels = [0] * 90 + [1] * 10
    batches = list(ClassBalancedBatches(labels, batch_size=20, seed=0))
    passes = [[i for i in batch if labels[i] == 1] for batch in batches]
    assert all(sorted(p) == list(range(90, 100)) for p in passes)
    assert len({tuple(p) for p in passes}) == len(passes)


@pytest.mark.parametrize(
    ("labels", "batch_size", "message"),
    [
        ([0, 1, 2], 2, "at least the number of classes, 3, got 2"),
        ([], 4, "one label per case"),
        ([[0], [1]], 4, "shape"),
    ],
)
def test_balanced_batches_invalid_arguments_raise(labels, batch_size, message):
    with pytest.raises(ValueError, match=message):
        ClassBalancedBatches(labels, batch_size=batch_size)


@pytest.mark.parametrize(("n", "batch_size"), [(0, 4), (4, 0)])
def test_shuffled_batches_invalid_arguments_raise(n, batch_size):
    with pytest.raises(ValueError, match="expects int from 1 to 10000000, got 0"):
        ShuffledBatches(n, batch_size=batch_size)


@pytest.mark.parametrize(
    "sampler",
    [
        ShuffledBatches(41, batch_size=8, seed=1),
        # 3 classes do not divide 8: the batches' real size is what Accelerate must be told.
        ClassBalancedBatches([0, 1, 2] * 14, batch_size=8, seed=1),
        WeightedBatches([0, 1, 2] * 14, batch_size=8, seed=1),
        GroupedBatches([str(i // 3) for i in range(42)], batch_size=8, seed=1),
        GroupedBatches([str(i // 3) for i in range(42)], batch_size=8, processes=2, seed=1),
    ],
)
def test_accelerate_distributes_all_batches(sampler):
    whole = list(sampler)
    shares = [list(BatchSamplerShard(sampler, num_processes=2, process_index=i)) for i in range(2)]
    assert len(shares[0]) == len(shares[1]) == len(BatchSamplerShard(sampler, num_processes=2)) == len(whole) // 2
    assert {i for share in shares for batch in share for i in batch} == {i for batch in whole for i in batch}
    assert all(len(batch) == sampler.batch_size for share in shares for batch in share)


@pytest.mark.parametrize(("epoch", "length"), [("cases", 3), ("largest", 4)])
def test_balanced_epoch_length_by_cases_or_largest_class(epoch, length):
    """13 cases of class 0 and 5 of class 1, three of each in a batch."""
    sampler = ClassBalancedBatches([0] * 13 + [1] * 5, batch_size=6, epoch=epoch)
    batches = list(sampler)
    assert len(sampler) == len(batches) == length
    assert all(Counter(i < 13 for i in batch) == {True: 3, False: 3} for batch in batches)
    # No case of the largest class comes twice.
    assert max(Counter(i for batch in batches for i in batch if i < 13).values()) == 1


def test_unknown_epoch_raises():
    with pytest.raises(ValueError, match="epoch expects one of cases, largest, got 'all'"):
        ClassBalancedBatches([0, 1], batch_size=2, epoch="all")
    assert len(ClassBalancedBatches([0, 1], batch_size=8, epoch="largest")) == 1
