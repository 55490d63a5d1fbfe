import pytest
import torch

from helpers.explained import batch_for, left_as_it_was, small_model
from mmfusion.explain.random_weights import randomized


@pytest.mark.parametrize("name", ["concat", pytest.param("cfcml", marks=pytest.mark.slow)])
def test_randomized_copy_permutes_weights(name: str) -> None:
    model = small_model(name)
    inputs = batch_for(model)
    with left_as_it_was(model):
        ((part, other),) = randomized(model, torch.Generator().manual_seed(0))
        assert part == "all"
        moved = 0
        for (key, one), two in zip(model.named_parameters(), other.parameters(), strict=True):
            assert one is not two, key
            assert torch.equal(one.flatten().sort().values, two.flatten().sort().values), key
            moved += not torch.equal(one, two)
        assert moved
        for one, two in zip(model.buffers(), other.buffers(), strict=True):
            assert torch.equal(one, two)
        assert not torch.allclose(model(inputs).logits, other(inputs).logits)


def test_cascade_goes_from_head_to_encoders() -> None:
    model = small_model("concat")
    before = {name: p.clone() for name, p in model.named_parameters()}
    done: list[str] = []
    for part, other in randomized(model, torch.Generator().manual_seed(0), cascade=True):
        done.append(part)
        for name, parameter in other.named_parameters():
            if name.split(".")[0] not in done:
                assert torch.equal(parameter, before[name]), (done, name)
    assert done[0] == "head"
    assert done[-1] == "encoders"
    assert set(done) == {name.split(".")[0] for name in before}
    last = dict(other.named_parameters())
    several = [name for name, x in before.items() if len(x.unique()) > 8]
    assert several
    assert not any(torch.equal(before[name], last[name]) for name in several)


def test_permutation_depends_on_generator() -> None:
    model = small_model("concat")
    first, again, other = (
        next(iter(randomized(model, torch.Generator().manual_seed(seed))))[1].state_dict() for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)
