import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.data.samplers import GroupedBatches


@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=80),
    st.integers(1, 9),
    st.integers(1, 3),
    st.integers(0, 3),
)
def test_every_case_once_and_groups_in_different_batches(owners, batch_size, processes, epoch):
    groups = [f"p{owner}" for owner in owners]
    sampler = GroupedBatches(groups, batch_size=batch_size, processes=processes, seed=1)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert batches == list(sampler)
    assert len(batches) == len(sampler) == math.ceil(len(groups) / batch_size)
    assert all(len(batch) == batch_size for batch in batches[:-1])
    seen = Counter(case for batch in batches for case in batch)
    assert set(seen) == set(range(len(groups)))
    twice = batch_size > 1 and len(batches) > 1 and len(groups) % batch_size == 1
    assert sum(seen.values()) == len(groups) + twice
    assert all(len(set(batch)) == len(batch) for batch in batches)
    if twice:
        # Company for a lone last case, of another group where there is one in the first batch.
        alone, other = batches[-1]
        assert groups[alone] != groups[other] or {groups[case] for case in batches[0]} == {groups[alone]}
        batches[-1] = [alone]
    size = batch_size * processes
    steps = [[c for batch in batches[i : i + processes] for c in batch] for i in range(0, len(batches), processes)]
    whole = len(groups) // size
    for group, n in Counter(groups).items():
        most = max(sum(groups[case] == group for case in step) for step in steps)
        assert most <= max(1, math.ceil(n / max(1, whole)))


def test_one_case_per_lesion_in_a_batch():
    # 30 lesions of 3 images, 12 batches: three times as many as it takes.
    groups = [f"lesion {i // 3}" for i in range(90)]
    sampler = GroupedBatches(groups, batch_size=8, seed=0)
    met = set()
    for epoch in range(30):
        sampler.set_epoch(epoch)
        for batch in sampler:
            assert len({groups[i] for i in batch}) == len(batch)
            met |= {(a, b) for a in batch for b in batch if a < b}
    # Over the epochs everybody meets nearly everybody else.
    assert len(met) > 0.8 * (90 * 89 / 2 - 30 * 3)


@pytest.mark.parametrize(("groups", "batch_size", "processes"), [([], 2, 1), (["a"], 0, 1), (["a"], 1, 0)])
def test_invalid_arguments_raise(groups, batch_size, processes):
    with pytest.raises(ValueError, match=r"GroupedBatches: (groups|batch_size|processes) expects "):
        GroupedBatches(groups, batch_size=batch_size, processes=processes)
