import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfusion.data.samplers import ClassBalancedBatches, SharedBatches, ShuffledBatches


@settings(deadline=None)
@given(st.integers(2, 60), st.integers(8, 16), st.integers(1, 4), st.integers(0, 3))
def test_shares_partition_the_batch(n, batch_size, size, epoch):
    batches = ShuffledBatches(n, batch_size=batch_size, seed=1)
    shares = [SharedBatches(batches, index=i, processes=size) for i in range(size)]
    for share in shares:
        share.set_epoch(epoch)
    whole, parts = list(batches), list(zip(*shares, strict=True))
    assert [len(share) for share in shares] == [len(whole)] * size == [len(parts)] * size
    for batch, of_it in zip(whole, parts, strict=True):
        joined = [case for part in of_it for case in part]
        assert joined[: len(batch)] == batch
        # What a short last batch gets are cases that the epoch began with.
        assert len(joined) == (max(len(batch), 2 * size) if size > 1 else len(batch))
        assert set(joined[len(batch) :]) <= set(whole[0])
        assert max(map(len, of_it)) - min(map(len, of_it)) <= 1


@pytest.mark.parametrize(
    ("batches", "index", "processes", "message"),
    [
        (ShuffledBatches(9, batch_size=5), 0, 3, "all 3 processes.* a batch_size of at least 6, got 5, or start fewer"),
        # Seven cases a batch make two of each of three classes.
        (ClassBalancedBatches([0, 1, 2] * 5, batch_size=7), 0, 4, "at least 8, got 6"),
        (ShuffledBatches(9, batch_size=4), 2, 2, "an index below processes=2, got 2"),
    ],
)
def test_invalid_arguments_raise(batches, index, processes, message):
    with pytest.raises(ValueError, match=message):
        SharedBatches(batches, index=index, processes=processes)
