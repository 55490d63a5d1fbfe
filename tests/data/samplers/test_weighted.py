from collections import Counter

import pytest
import torch

from mmfusion.data.samplers import WeightedBatches

LABELS = [0] * 800 + [1] * 150 + [2] * 50


@pytest.mark.parametrize(
    ("options", "shares"),
    [
        ({}, [1 / 3, 1 / 3, 1 / 3]),
        ({"power": 0}, [0.8, 0.15, 0.05]),
        # 800 ** 0.5, 150 ** 0.5 and 50 ** 0.5 are 28.28, 12.25 and 7.07, of 47.6.
        ({"power": 0.5}, [0.594, 0.257, 0.149]),
        # 800, 300 and 500, of 1600.
        ({"weights": [1, 2, 10]}, [0.5, 0.1875, 0.3125]),
    ],
)
def test_class_frequencies_match_weights(options, shares):
    sampler = WeightedBatches(LABELS, batch_size=32, seed=1, **options)
    drawn = []
    for epoch in range(20):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler) == 32
        assert all(len(batch) == 32 for batch in batches)
        drawn += [LABELS[i] for batch in batches for i in batch]
    counts = Counter(drawn)
    assert [counts[k] / len(drawn) for k in range(3)] == pytest.approx(shares, abs=0.015)


def test_cases_of_a_class_are_equally_likely():
    sampler, counts = WeightedBatches([0] * 6 + [1] * 2, batch_size=8, seed=0), Counter()
    for epoch in range(1000):
        sampler.set_epoch(epoch)
        counts.update(next(iter(sampler)))
    assert [counts[i] / 8000 for i in range(8)] == pytest.approx([1 / 12] * 6 + [1 / 4] * 2, abs=0.015)


def test_unused_class_is_ignored():
    assert set(next(iter(WeightedBatches([0, 2, 2], batch_size=50)))) == {0, 1, 2}


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([], {}, "WeightedBatches expects one label per case"),
        ([0, 1], {"batch_size": 0}, "batch_size expects int from 1"),
        ([0, 1], {"power": float("inf")}, "power expects float from -10 to 10, got inf"),
        ([0, 1], {"power": "half"}, "power expects float from -10 to 10, got 'half'"),
        ([0, 1, 2], {"weights": [1, 2]}, r"one weight for each of 3 classes, got 2: \[1, 2\]"),
        ([0, 1], {"weights": [1, 2, 3]}, r"one weight for each of 2 classes, got 3: \[1, 2, 3\]"),
        ([0, 1], {"weights": [1, 2, 3], "n_classes": 2}, r"one weight for each of 2 classes, got 3"),
        ([0, 1], {"n_classes": 1}, "labels from 0 to 0, got 1 among 1 of 2 cases"),
        ([0, -100], {}, "labels from 0, got -100 among 1 of 2 cases"),
        ([0, 1], {"weights": [1, 0]}, "weights expects a list of float above 0"),
        ([0, 1], {"weights": [1.0, torch.nan]}, "weights expects a list of float above 0"),
    ],
)
def test_invalid_arguments_raise(labels, options, message):
    with pytest.raises(ValueError, match=message):
        WeightedBatches(labels, **{"batch_size": 4, **options})
