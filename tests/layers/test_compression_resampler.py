import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mmfusion.layers.compression import GridPosition, Resampler, TokenShape
from mmfusion.tokens import Tokens

MAP = TokenShape.of_map((6, 3, 4))


def normalised(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    deviation = (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt()
    return centred / deviation * norm.weight + norm.bias


def by_hand(compress: Resampler, x: Tensor) -> Tensor:
    """A case, a block and a head at a time, from unmasked tokens of a single case ``(n, d)``."""
    tokens = compress.down(normalised(x, compress.norm))
    if compress.position is not None:
        tokens = tokens + compress.position(compress.grid)
    latents = compress.latents
    for block in compress.blocks:
        queries, attention = normalised(latents, block.norm1), block.attention
        context = torch.cat([tokens, queries])
        q, k, v = attention.query(queries), attention.key(context), attention.value(context)
        heads = []
        for part in torch.arange(q.shape[1]).chunk(attention.n_heads):
            scores = q[:, part] @ k[:, part].T / math.sqrt(len(part))
            heads.append(scores.softmax(-1) @ v[:, part])
        latents = latents + attention.out(torch.cat(heads, 1))
        first, _, _, last = block.feed_forward
        latents = latents + last(F.gelu(first(normalised(latents, block.norm2))))
    out: Tensor = compress.up(normalised(latents, compress.out_norm))
    return out


def shaken(compress: nn.Module) -> nn.Module:
    """Biases and norms start at constants that would hide a mistake."""
    for parameter in compress.parameters():
        nn.init.normal_(parameter, std=0.5)
    return compress


@pytest.mark.parametrize(
    "options", [{}, {"depth": 1}, {"n_heads": 3, "expansion": 0.5}, {"width": 4}, {"positions": False}]
)
def test_resampler_matches_reference(options: dict[str, Any]) -> None:
    compress = shaken(Resampler(MAP, n_latents=5, **options).double())
    x = torch.randn(3, 12, 6, dtype=torch.float64)
    expected = torch.stack([by_hand(compress, case) for case in x])
    torch.testing.assert_close(compress(Tokens(x)), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.slow
@given(st.integers(0, 10**6))
def test_masked_token_equals_removed_token(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    compress = shaken(Resampler(TokenShape(7, 6), n_latents=3).double())
    x, mask = torch.randn(2, 7, 6, generator=g).double(), torch.rand(2, 7, generator=g) < 0.5
    found = compress(Tokens(x, mask))
    for case in range(2):
        torch.testing.assert_close(found[case], by_hand(compress, x[case, mask[case]]), rtol=1e-11, atol=1e-11)


@pytest.mark.slow
@given(st.permutations(range(12)))
def test_without_positions_is_permutation_invariant(order: list[int]) -> None:
    x, mask = torch.randn(2, 12, 6).double(), torch.rand(2, 12) < 0.7
    for shape, options in ((MAP, {"positions": False}), (TokenShape(12, 6), {})):
        compress = Resampler(shape, n_latents=5, **options).double()
        assert compress.position is None
        torch.testing.assert_close(compress(Tokens(x[:, order], mask[:, order])), compress(Tokens(x, mask)))
        torch.testing.assert_close(compress(Tokens(x[:, order])), compress(Tokens(x)))


def test_with_positions_token_order_matters() -> None:
    x, compress = torch.randn(2, 12, 6), Resampler(MAP, n_latents=5)
    assert not torch.allclose(compress(Tokens(x.flip(1))), compress(Tokens(x)), atol=1e-3)


def test_without_positions_accepts_any_number_of_tokens() -> None:
    for shape, options in ((MAP, {"positions": False}), (TokenShape(12, 6), {})):
        compress = Resampler(shape, n_latents=5, **options)
        for n in (1, 12, 30):
            assert compress(Tokens(torch.randn(2, n, 6))).shape == (2, 5, 6)


@pytest.mark.parametrize(
    ("dim", "n_heads"), [(1, 1), (7, 1), (16, 1), (32, 2), (34, 2), (60, 2), (64, 4), (65, 1), (300, 4)]
)
def test_default_n_heads_divides_any_dim(dim: int, n_heads: int) -> None:
    compress = Resampler(TokenShape(3, dim), n_latents=2)
    assert [block.attention.n_heads for block in compress.blocks] == [n_heads, n_heads]
    assert compress(Tokens(torch.randn(1, 3, dim))).shape == (1, 2, dim)


def test_wide_tokens_are_projected_down() -> None:
    assert Resampler(TokenShape(3, 300), n_latents=2).latents.shape == (2, 128)
    narrow = Resampler(TokenShape(3, 8), n_latents=2, width=8)
    assert isinstance(narrow.down, nn.Identity)
    assert isinstance(narrow.up, nn.Identity)
    wide = Resampler(TokenShape(3, 9), n_latents=2, width=8)
    assert (wide.down.weight.shape, wide.up.weight.shape) == ((8, 9), (9, 8))


def test_dropout_only_in_training() -> None:
    compress, x = Resampler(MAP, n_latents=5, dropout=0.5), Tokens(torch.randn(1, 12, 6))
    assert not torch.equal(compress(x), compress(x))
    compress.eval()
    assert torch.equal(compress(x), compress(x))


def test_grid_position_matches_loop() -> None:
    """One loop per position, axis and band."""
    position, grid = GridPosition(4, n_axes=3, n_bands=2).double(), (2, 3, 1)
    expected = []
    for at in ((i, j, k) for i in range(2) for j in range(3) for k in range(1)):
        total = torch.zeros(4, dtype=torch.float64)
        for axis in range(3):
            c = (at[axis] + 0.5) / grid[axis] * 2 - 1
            features = [c, *(math.sin(math.pi * k * c) for k in (1, 2)), *(math.cos(math.pi * k * c) for k in (1, 2))]
            for feature, row in zip(features, position.weight[axis], strict=True):
                total = total + feature * row
        expected.append(total)
    torch.testing.assert_close(position(grid), torch.stack(expected), rtol=1e-12, atol=1e-12)


def test_grid_positions_are_distinct() -> None:
    vectors = GridPosition(8, n_axes=2)((12, 16))
    assert vectors.shape == (192, 8)
    assert (torch.cdist(vectors, vectors) + torch.eye(192) * 9).min().item() > 0.05


def test_grid_position_is_invariant_to_resolution() -> None:
    """A cell of three by three small ones has the position of the middle one."""
    position = GridPosition(4, n_axes=2).double()
    fine = position((6, 9)).view(6, 9, 4)
    torch.testing.assert_close(fine[1::3, 1::3].reshape(6, 4), position((2, 3)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_latents": 0}, "n_latents expects int from 1 to 4096, got 0"),
        ({"width": 0}, "width expects int from 1 to 16384, got 0"),
        ({"depth": 0}, "depth expects int from 1 to 128, got 0"),
        ({"expansion": 0}, "expansion expects float from 0.01 to 64, got 0"),
        ({"n_bands": 0}, "n_bands expects int from 1 to 64, got 0"),
        ({"n_heads": 4}, "n_heads must divide dim, got dim=6 and n_heads=4"),
        ({"n_heads": 3, "width": 4}, "n_heads must divide dim, got dim=4 and n_heads=3"),
    ],
)
def test_invalid_options_raise(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Resampler(MAP, **{"n_latents": 5} | options)


def test_with_positions_other_number_of_tokens_raises() -> None:
    with pytest.raises(ValueError, match="built for 12 tokens, got 13: the image size"):
        Resampler(MAP, n_latents=5)(Tokens(torch.ones(1, 13, 6)))
