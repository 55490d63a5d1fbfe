import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.data.transforms.modality_dropout import drop_modalities

N = 20_000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def everyone(*names: str) -> dict[str, torch.Tensor]:
    return {name: torch.ones(N, dtype=torch.bool) for name in names}


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("m", [1, 2, 3])
def test_drop_rate_matches_formula(p: float, m: int) -> None:
    """``p - p^m / m`` each: 0 of a single one."""
    left = drop_modalities(everyone(*"abc"[:m]), p, generator())
    for mask in left.values():
        assert 1 - mask.float().mean().item() == pytest.approx(p - p**m / m, abs=0.015)
    assert bool(torch.stack(list(left.values())).any(0).all())


def test_modalities_are_dropped_independently() -> None:
    left = drop_modalities(everyone(*"abcd"), 0.3, generator())
    gone = ~left["a"] & ~left["b"]
    assert gone.float().mean().item() == pytest.approx(0.3**2 - 0.3**4 / 2, abs=0.01)


@given(
    have=st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=8),
    p=st.floats(0, 0.99),
    seed=st.integers(0, 100),
)
def test_keeps_at_least_one_modality_and_adds_none(have: list[list[bool]], p: float, seed: int) -> None:
    before = torch.tensor(have).T
    present = dict(zip("abc", before, strict=True))
    after = torch.stack(list(drop_modalities(present, p, generator(seed)).values()))
    assert not bool((after & ~before).any())
    assert torch.equal(after.any(0), before.any(0))
    assert torch.equal(torch.stack(list(present.values())), before)  # what was given is left as it was
    again = torch.stack(list(drop_modalities(present, p, generator(seed)).values()))
    assert torch.equal(after, again)


def test_ignored_modality_is_neither_dropped_nor_counted() -> None:
    """Neither is it dropped, nor is it what stays of a case."""
    left = drop_modalities(everyone(*"abc"), 0.9, generator(), names=("a", "b"))
    assert bool(left["c"].all())
    assert bool((left["a"] | left["b"]).all())
    assert bool(drop_modalities(everyone("a", "b"), 0.9, generator(), names=("a",))["a"].all())
    assert list(left) == ["a", "b", "c"]


def test_zero_rate_draws_nothing() -> None:
    present = everyone("a", "b")
    state = generator()
    assert all(x is present[name] for name, x in drop_modalities(present, 0.0, state).items())
    assert torch.equal(state.get_state(), generator().get_state())
