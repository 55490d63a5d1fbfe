from collections.abc import Sequence
from pathlib import Path

import pytest

from helpers import distributed_cases as cases
from helpers.processes import together
from mmfusion.data.samplers import (
    OPTIONS,
    ClassBalancedBatches,
    GroupedBatches,
    ShuffledBatches,
    WeightedBatches,
    choose_batches,
)


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("shuffled", {}, ShuffledBatches),
        ("balanced", {}, ClassBalancedBatches),
        ("weighted", {"power": 0.5}, WeightedBatches),
        ("grouped", {}, GroupedBatches),
    ],
)
def test_created_by_name(name, options, kind):
    sampler = choose_batches(name, cases.Numbers(), "label", batch_size=6, seed=1, options=options)
    assert type(sampler) is kind
    assert sampler.seed == 1
    assert len(sampler) == 8
    assert name in OPTIONS


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("random", {}, "unknown sampler 'random'; valid: shuffled, balanced, weighted, grouped"),
        ("grouped", {"power": 1}, "'grouped' has no option 'power'; valid: none"),
        ("weighted", {"pow": 1}, "has no option 'pow'; valid: power, weights"),
    ],
)
def test_invalid_choices_raise(name, options, message):
    with pytest.raises(ValueError, match=message):
        choose_batches(name, cases.Numbers(), "label", batch_size=6, seed=1, options=options)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_two_processes_partition_batches(tmp_path: Path) -> None:
    """Step by step, whether Accelerate splits batches or distributes whole ones."""
    for split, ranks in zip((False, True), zip(*together(cases.dealt, tmp_path, 2), strict=True), strict=True):
        check_dealt(split, ranks)


def check_dealt(split: bool, ranks: Sequence[dict[str, list[list[int]]]]) -> None:
    assert len(ranks[0]) == 3 * len(OPTIONS)
    for name in ranks[0]:
        kind, epoch = name.split()
        sampler = choose_batches(kind, cases.Numbers(), "label", batch_size=6, seed=5, processes=1 if split else 2)
        sampler.set_epoch(int(epoch))
        alone = list(sampler)
        together_now = [sorted(a + b) for a, b in zip(*(rank[name] for rank in ranks), strict=True)]
        if split:
            wanted = [sorted(batch) for batch in alone]
        else:
            wanted = [sorted(a + b) for a, b in zip(alone[::2], alone[1::2], strict=True)]
        # The last step may be too small for two: Accelerate fills it up from the beginning of the epoch.
        assert together_now[:-1] == wanted[:-1]
        assert set(together_now[-1]) >= set(wanted[-1])
        if kind == "grouped":
            for step in together_now[:-1]:
                assert len({cases.Numbers.groups[i] for i in step}) == len(step)
