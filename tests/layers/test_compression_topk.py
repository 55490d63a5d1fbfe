import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mmfusion.layers.compression import TokenShape, TopKCompression
from mmfusion.tokens import Tokens


def topk(n_latents: int, direction: list[float] | None = None, dim: int = 2) -> TopKCompression:
    compress = TopKCompression(TokenShape(6, dim), n_latents=n_latents)
    if direction is not None:
        with torch.no_grad():
            compress.direction.copy_(torch.tensor(direction))
    return compress


def by_hand(compress: TopKCompression, x: Tensor, mask: Tensor) -> Tensor:
    """Sort the real tokens of each case by score, keep the first few, put them back in order."""
    p = (compress.direction / compress.direction.square().sum().sqrt()).detach()
    rows = []
    for case in range(len(x)):
        scores = {t: float((x[case, t] * p).sum()) for t in range(x.shape[1]) if mask[case, t]}
        kept = sorted(sorted(scores, key=lambda t: -scores[t])[: compress.n_latents])
        latents = [x[case, t] / (1 + math.exp(-scores[t])) for t in kept]
        latents += [torch.zeros_like(x[case, 0])] * (compress.n_latents - len(kept))
        rows.append(torch.stack(latents))
    return torch.stack(rows)


def test_keeps_highest_scores_in_token_order() -> None:
    """Scores 3, -1, 5, 0 along the first feature: the first and the third token, in this order."""
    x = torch.tensor([[[3.0, 1], [-1, 2], [5, 3], [0, 4]]])
    gates = [1 / (1 + math.exp(-3)), 1 / (1 + math.exp(-5))]
    expected = torch.tensor([[[3.0, 1], [5, 3]]]) * torch.tensor(gates).view(1, 2, 1)
    torch.testing.assert_close(topk(2, [7.0, 0.0])(Tokens(x)), expected)
    first, last = topk(1, [-1.0, 0.0]), x[:, 1:2] / (1 + math.exp(-1))
    torch.testing.assert_close(first(Tokens(x)), last)


@given(st.integers(0, 10**6), st.integers(1, 8), st.sampled_from([0.0, 0.4, 0.8, 1.0]))
def test_topk_matches_reference(seed: int, n_latents: int, share: float) -> None:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(3, 6, 2, generator=g, dtype=torch.float64)
    mask = torch.rand(3, 6, generator=g) < share
    compress = topk(n_latents).double()
    torch.testing.assert_close(compress(Tokens(x, mask)), by_hand(compress, x, mask), rtol=1e-12, atol=1e-12)
    everything = torch.ones(3, 6, dtype=torch.bool)
    torch.testing.assert_close(compress(Tokens(x)), by_hand(compress, x, everything), rtol=1e-12, atol=1e-12)


@given(st.integers(0, 10**6), st.integers(1, 8))
def test_masked_token_equals_removed_token(seed: int, n_latents: int) -> None:
    g = torch.Generator().manual_seed(seed)
    x, compress = torch.randn(1, 6, 2, generator=g), topk(n_latents)
    mask = torch.rand(1, 6, generator=g) < 0.5
    mask[0, int(torch.randint(0, 6, (), generator=g))] = True
    torch.testing.assert_close(compress(Tokens(x, mask)), compress(Tokens(x[mask].unsqueeze(0))))


@given(st.permutations(range(6)))
def test_latents_follow_token_order(order: list[int]) -> None:
    """The same tokens are kept whatever the order, and the latents follow it."""
    x, compress = torch.randn(1, 6, 2), topk(3)
    latents = compress(Tokens(x))
    moved = compress(Tokens(x[:, order]))
    gates = (x @ compress.direction / compress.direction.norm()).sigmoid().unsqueeze(-1) * x
    kept = [t for t in range(6) if any(torch.allclose(gates[0, t], latent) for latent in latents[0])]
    assert len(kept) == 3
    torch.testing.assert_close(moved, gates[:, [t for t in order if t in kept]])


def test_gradient_reaches_direction_and_kept_tokens() -> None:
    """The gradient of ``x sigmoid(x p / |p|)``; zero for a token that is not kept."""
    x = torch.tensor([[[3.0, 1], [-1, 2], [5, 3]]], dtype=torch.float64, requires_grad=True)
    compress = topk(2, [1.0, 0.5]).double()
    weights = torch.randn(1, 2, 2, dtype=torch.float64)
    found = torch.autograd.grad((compress(Tokens(x)) * weights).sum(), (x, compress.direction))
    kept = x[:, [0, 2]]
    direction = compress.direction / compress.direction.norm()
    expected = (kept * torch.sigmoid(kept @ direction).unsqueeze(-1) * weights).sum()
    torch.testing.assert_close(found, torch.autograd.grad(expected, (x, compress.direction)))
    assert not bool(found[0][0, 1].any())
    assert bool(found[1].any())


def test_invariant_to_length_of_direction() -> None:
    x = torch.randn(2, 6, 2)
    torch.testing.assert_close(topk(3, [3.0, 4.0])(Tokens(x)), topk(3, [0.06, 0.08])(Tokens(x)))


def test_half_precision_is_scored_in_float32() -> None:
    """Two scores that bfloat16 does not distinguish."""
    x = torch.tensor([[[1.0, 1.0], [1.0, 1.0078125]]], dtype=torch.bfloat16)
    for swap in (False, True):
        compress = topk(1, [64.0, 1.0])
        tokens = Tokens(x.flip(1) if swap else x)
        expected = torch.tensor([1.0, 1.0078125]) * torch.sigmoid(torch.tensor(65.0078125 / math.hypot(64, 1)))
        assert torch.equal(compress(tokens)[0, 0], expected.bfloat16())
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(compress(Tokens(tokens.x.float()))[0, 0], expected)


def test_negative_n_latents_raises() -> None:
    with pytest.raises(ValueError, match="n_latents expects int from 1 to 4096, got -1"):
        topk(-1)
