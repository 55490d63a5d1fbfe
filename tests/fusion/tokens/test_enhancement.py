from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mmfusion.fusion.tokens import CrossmodalEnhancement
from mmfusion.tokens import Tokens, join

NAMES = ("a", "b", "c")


def tokens(b: int = 2, dim: int = 4, seed: int = 0) -> dict[str, Tokens]:
    g = torch.Generator().manual_seed(seed)
    return {name: Tokens(torch.randn(b, n, dim, generator=g)) for name, n in zip(NAMES, (2, 3, 1), strict=True)}


def test_enhancement_matches_reference() -> None:
    block, given_tokens = CrossmodalEnhancement(NAMES, dim=4, n_heads=2), tokens()
    out = block(given_tokens)
    assert [(name, one.x.shape[1], one.mask) for name, one in out.items()] == [
        ("a", 4, None),
        ("b", 6, None),
        ("c", 2, None),
    ]
    others = Tokens(torch.cat([given_tokens["a"].x, given_tokens["c"].x], 1))
    assert torch.equal(out["b"].x[:, :3], given_tokens["b"].x)
    assert torch.equal(out["b"].x[:, 3:], block.attention["b"](given_tokens["b"].x, others))


def test_single_modality_is_padded_with_zeros() -> None:
    block = CrossmodalEnhancement(["a"], dim=4)
    assert list(block.parameters()) == []
    x = torch.randn(2, 3, 4)
    assert torch.equal(block({"a": Tokens(x)})["a"].x, torch.cat([x, torch.zeros(2, 3, 4)], 1))


@pytest.mark.parametrize("content", [float("nan"), float("inf"), 3.0])
def test_missing_modality_has_no_effect(content: float) -> None:
    """Case 1 lacks b: its content changes no bit, and the rest is as if b were not in the block."""
    block, clean = CrossmodalEnhancement(NAMES, dim=4), tokens()
    mask = torch.tensor([[True] * 3, [False] * 3])
    out = block(clean | {"b": Tokens(clean["b"].x, mask)})
    spoilt = block(clean | {"b": Tokens(torch.where(mask.unsqueeze(-1), clean["b"].x, content), mask)})
    for name in NAMES:
        assert torch.equal(out[name].filled(), spoilt[name].filled())
    assert out["b"].mask.tolist() == [[True] * 6, [False] * 6]
    assert out["a"].mask is None
    alone = block.attention["a"](clean["a"].x, clean["c"])
    torch.testing.assert_close(out["a"].x[1, 2:], alone[1])


def test_only_present_modality_is_padded_with_zeros() -> None:
    """The others are all missing: the completion is zeros, with finite gradients."""
    block, clean = CrossmodalEnhancement(NAMES, dim=4), tokens()
    absent = {name: Tokens(clean[name].x, torch.zeros(clean[name].x.shape[:2]).bool()) for name in ("b", "c")}
    out = block(clean | absent)
    assert torch.equal(out["a"].x, torch.cat([clean["a"].x, torch.zeros(2, 2, 4)], 1))
    sum(one.filled().sum() for one in out.values()).backward()
    assert all(bool(p.grad.isfinite().all()) for p in block.parameters())


@pytest.mark.parametrize("order", list(permutations(NAMES)))
def test_invariant_to_modality_order(order: tuple[str, ...]) -> None:
    """With the weights permuted alike: attention does not know the order of its keys."""
    block, moved = CrossmodalEnhancement(NAMES, dim=4).double(), CrossmodalEnhancement(order, dim=4).double()
    moved.load_state_dict(block.state_dict())
    given_tokens = {name: Tokens(one.x.double()) for name, one in tokens().items()}
    out, again = block(given_tokens), moved({name: given_tokens[name] for name in order})
    assert tuple(again) == order
    for name in NAMES:
        torch.testing.assert_close(again[name].x, out[name].x, rtol=1e-12, atol=1e-12)


@given(st.permutations(range(5)), st.integers(0, 10**6))
def test_equivariant_to_case_order(order: list[int], seed: int) -> None:
    block, given_tokens = CrossmodalEnhancement(NAMES, dim=4), tokens(5, seed=seed)
    out = block(given_tokens)
    again = block({name: Tokens(one.x[order]) for name, one in given_tokens.items()})
    for name in NAMES:
        torch.testing.assert_close(again[name].x, out[name].x[order])


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a", "c"), ("a", "b", "x")])
def test_unknown_modalities_raise(names: tuple[str, ...]) -> None:
    given_tokens = {name: Tokens(torch.zeros(1, 1, 4)) for name in names}
    with pytest.raises(ValueError, match=r"built for the modalities \('a', 'b', 'c'\), got"):
        CrossmodalEnhancement(NAMES, dim=4)(given_tokens)


@pytest.mark.parametrize("mask", [None, torch.tensor([[True, False]])])
def test_join_concatenates_tokens_and_masks(mask: Tensor | None) -> None:
    joined = join([Tokens(torch.zeros(1, 1, 2)), Tokens(torch.ones(1, 2, 2), mask)])
    assert joined.x.tolist() == [[[0, 0], [1, 1], [1, 1]]]
    assert joined.mask is None if mask is None else joined.mask.tolist() == [[True, True, False]]
