import math

import pytest
import torch
from torch import Tensor

from mmfusion.layers.attention import CrossAttention, FeedForward
from mmfusion.tokens import Tokens


def by_hand(attention: CrossAttention, queries: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax attention, a head at a time."""
    q, k, v = attention.query(queries), attention.key(context), attention.value(context)
    width = q.shape[-1] // attention.n_heads
    heads = []
    for h in range(attention.n_heads):
        part = slice(h * width, (h + 1) * width)
        scores = torch.einsum("bnd,bmd->bnm", q[..., part], k[..., part]) / math.sqrt(width)
        if mask is not None:
            scores = scores.masked_fill(~mask.unsqueeze(1), -math.inf)
        heads.append(scores.softmax(-1) @ v[..., part])
    out: Tensor = attention.out(torch.cat(heads, -1))
    return out


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("n_heads", [1, 2, 4])
def test_cross_attention_matches_softmax_reference(n_heads: int, masked: bool) -> None:
    attention = CrossAttention(8, n_heads=n_heads).double()
    queries, context = torch.randn(3, 2, 8).double(), torch.randn(3, 5, 8).double()
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 1, 0, 0], [0, 0, 0, 0, 1]]).bool() if masked else None
    out = attention(queries, Tokens(context, mask))
    torch.testing.assert_close(out, by_hand(attention, queries, context, mask), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("content", [float("nan"), float("inf"), 1e30])
def test_masked_context_has_no_effect(content: float) -> None:
    attention, queries = CrossAttention(4), torch.randn(2, 3, 4)
    mask = torch.tensor([[True, False, True], [True, True, False]])
    clean = torch.randn(2, 3, 4)
    results = []
    for context in (clean.clone(), torch.where(mask.unsqueeze(-1), clean, content)):
        context.requires_grad_()
        out = attention(queries, Tokens(context, mask))
        grads = torch.autograd.grad(out.square().sum(), [context, *attention.parameters()])
        results.append([out, *grads])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)
    assert not bool(results[1][1][~mask].any())


def test_fully_masked_context_gives_zeros() -> None:
    """Zeros, and gradients as if the case were not in the batch."""
    attention = CrossAttention(4)
    queries = torch.randn(2, 3, 4, requires_grad=True)
    context = torch.randn(2, 2, 4, requires_grad=True)
    mask = torch.tensor([[True, True], [False, False]])
    out = attention(queries, Tokens(context, mask))
    assert torch.equal(out[1], torch.zeros(3, 4))
    parameters = list(attention.parameters())
    together = torch.autograd.grad(out.square().sum(), [queries, context, *parameters])
    assert all(bool(grad.isfinite().all()) for grad in together)
    assert not bool(together[0][1].any())
    assert not bool(together[1][1].any())
    alone = torch.autograd.grad(attention(queries[:1], Tokens(context[:1])).square().sum(), parameters)
    torch.testing.assert_close(together[2:], alone)


@pytest.mark.parametrize(("dim", "n_heads"), [(8, 3), (8, 0), (8, -2)])
def test_n_heads_not_dividing_dim_raises(dim: int, n_heads: int) -> None:
    CrossAttention(dim, n_heads=2)
    with pytest.raises(ValueError, match=rf"n_heads must divide dim, got dim={dim} and n_heads={n_heads}"):
        CrossAttention(dim, n_heads=n_heads)


def test_feed_forward_matches_reference() -> None:
    layers = FeedForward(4, expansion=1.5)
    assert [tuple(p.shape) for p in layers.parameters()] == [(6, 4), (6,), (4, 6), (4,)]
    x = torch.randn(2, 3, 4)
    hidden = torch.nn.functional.gelu(x @ layers[0].weight.T + layers[0].bias)
    torch.testing.assert_close(layers(x), hidden @ layers[3].weight.T + layers[3].bias)
