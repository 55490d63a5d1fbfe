import pytest
import torch

from mmfusion.fusion.tokens import SelfAttention
from mmfusion.layers.attention import TransformerBlock
from mmfusion.tokens import Tokens


def test_transformer_block_matches_reference() -> None:
    block, x = TransformerBlock(4, n_heads=2), torch.randn(2, 3, 4)
    normed = block.norm1(x)
    middle = x + block.attention(normed, Tokens(normed))
    out = block(Tokens(x))
    assert out.mask is None
    torch.testing.assert_close(out.x, middle + block.feed_forward(block.norm2(middle)))


def test_masked_tokens_have_no_effect() -> None:
    block, x = TransformerBlock(4), torch.randn(2, 3, 4)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    spoilt = torch.where(mask.unsqueeze(-1), x, float("nan")).requires_grad_()
    one, other = block(Tokens(x, mask)), block(Tokens(spoilt, mask))
    assert torch.equal(one.filled(), other.filled())
    torch.testing.assert_close(one.x[:1, :2], block(Tokens(x[:1, :2])).x)
    other.filled().sum().backward()
    assert bool(spoilt.grad.isfinite().all())
    assert not bool(spoilt.grad[~mask].any())
    assert all(bool(p.grad.isfinite().all()) for p in block.parameters())


def test_modalities_are_independent() -> None:
    block = SelfAttention(["a", "b"], dim=4)
    a, b = Tokens(torch.randn(2, 3, 4)), Tokens(torch.randn(2, 2, 4))
    out = block({"a": a, "b": b})
    assert torch.equal(out["a"].x, block.blocks["a"](a).x)
    assert torch.equal(block({"a": a, "b": Tokens(b.x * 2)})["a"].x, out["a"].x)


@pytest.mark.parametrize("names", [("a",), ("a", "b", "c")])
def test_unknown_modalities_raise(names: tuple[str, ...]) -> None:
    block = SelfAttention(["a", "b"], dim=4)
    with pytest.raises(ValueError, match=r"built for the modalities \('a', 'b'\), got"):
        block({name: Tokens(torch.zeros(1, 1, 4)) for name in names})
