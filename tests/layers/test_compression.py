import textwrap
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import mmfusion as mmf
from mmfusion.layers import compression
from mmfusion.layers.compression import (
    ConvCompression,
    PoolCompression,
    Resampler,
    TokenShape,
    TopKCompression,
    create_compression,
)
from mmfusion.tokens import Tokens


@given(
    st.integers(1, 3),
    st.integers(1, 6),
    st.integers(1, 5),
    st.integers(1, 7),
    st.sampled_from([1, 3, 5]),
    st.booleans(),
)
def test_conv_compression_matches_conv1d(
    n_cases: int, n_tokens: int, n_latents: int, dim: int, kernel_size: int, mean: bool
) -> None:
    """Values and gradients of ``F.conv1d`` with the tokens as channels; also those of the mean of the latents."""
    compress = ConvCompression(n_tokens, n_latents=n_latents, kernel_size=kernel_size).double()
    x = torch.randn(n_cases, n_tokens, dim, dtype=torch.float64, requires_grad=True)
    found = compress.mean(Tokens(x)) if mean else compress(Tokens(x))
    expected = F.conv1d(x, compress.weight, compress.bias, padding=kernel_size // 2)
    expected = expected.mean(1) if mean else expected
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    direction = torch.randn_like(expected)
    of = (x, compress.weight, compress.bias)
    grads = [torch.autograd.grad((out * direction).sum(), of) for out in (found, expected)]
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-11, atol=1e-12)


def test_initial_weights_match_conv1d() -> None:
    torch.manual_seed(3)
    compress = ConvCompression(50, n_latents=40)
    torch.manual_seed(3)
    conv = nn.Conv1d(50, 40, 3)
    assert torch.equal(compress.weight, conv.weight)
    assert torch.equal(compress.bias, conv.bias)
    assert compress.n_latents == 40


def test_masked_token_equals_zeros() -> None:
    compress = ConvCompression(3, n_latents=2)
    x, mask = torch.randn(2, 3, 4), torch.tensor([[True, False, True], [False, False, False]])
    spoilt = torch.where(mask.unsqueeze(-1), x, float("nan"))
    zeroed = torch.where(mask.unsqueeze(-1), x, 0.0)
    assert torch.equal(compress(Tokens(spoilt, mask)), compress(Tokens(zeroed)))
    assert torch.equal(compress.mean(Tokens(spoilt, mask)), compress.mean(Tokens(zeroed)))


@pytest.mark.parametrize("call", ["forward", "mean"])
def test_other_number_of_tokens_raises(call: str) -> None:
    compress = getattr(ConvCompression(3, n_latents=2), call)
    compress(Tokens(torch.ones(1, 3, 4)))
    with pytest.raises(ValueError, match="built for 3 tokens, got 4: the image size or the number of columns"):
        compress(Tokens(torch.ones(1, 4, 4)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_tokens": 0, "n_latents": 2}, "must be positive, got n_tokens=0 and n_latents=2"),
        ({"n_tokens": 3, "n_latents": 0}, "must be positive, got n_tokens=3 and n_latents=0"),
        ({"n_tokens": 3, "n_latents": 2, "kernel_size": 2}, "odd and positive, got kernel_size=2"),
        ({"n_tokens": 3, "n_latents": 2, "kernel_size": -1}, "odd and positive, got kernel_size=-1"),
    ],
)
def test_invalid_options_raise(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConvCompression(**options)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("conv", ConvCompression), ("pool", PoolCompression), ("resampler", Resampler), ("topk", TopKCompression)],
)
def test_created_by_name(name: str, kind: type[nn.Module]) -> None:
    shape = TokenShape(4, 3)
    assert isinstance(mmf.registry.compressions.create(name, shape, n_latents=2), kind)
    made = create_compression(name, shape, n_latents=2)
    assert isinstance(made, kind)
    assert made.n_latents == 2


def test_mapping_gives_options() -> None:
    shape = TokenShape(4, 3)
    assert create_compression({"name": "conv", "kernel_size": 5}, shape, n_latents=2).weight.shape == (2, 4, 5)
    choice = {"name": "resampler", "depth": 3}
    assert len(create_compression(choice, shape, n_latents=2).blocks) == 3
    assert choice == {"name": "resampler", "depth": 3}


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("cnv", "unknown token compression 'cnv'; did you mean 'conv'"),
        ({"name": "cnv"}, "unknown token compression 'cnv'; did you mean 'conv'"),
        ({"kernel_size": 5}, "is a name, or a mapping with name and options, got {'kernel_size': 5}"),
        ({"name": 3}, "is a name, or a mapping with name and options, got {'name': 3}"),
        ({"name": "conv", "n_latents": 5}, "n_latents is set beside the compression, not in its options, got"),
        ({"name": "conv", "kernel": 5}, "token compression 'conv' has no option 'kernel'; did you mean 'kernel_size'"),
        ({"name": "pool", "kernel_size": 5}, "token compression 'pool' has no option 'kernel_size'"),
    ],
)
def test_invalid_choice_raises(choice: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_compression(choice, TokenShape(4, 3), n_latents=2)


def test_token_shape_of_map() -> None:
    assert TokenShape.of_map((5, 4, 3, 2)) == TokenShape(24, 5, (4, 3, 2))
    assert TokenShape(24, 5, [4, 3, 2]).grid == (4, 3, 2)
    assert TokenShape(24, 5).grid is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 5), "n_tokens expects int of at least 1, got 0"),
        ((4, 0), "dim expects int of at least 1, got 0"),
        ((4, 5, (2, 3)), r"a grid of n_tokens=4 positions, got \(2, 3\)"),
        ((4, 5, ()), r"a grid of n_tokens=4 positions, got \(\)"),
        ((4, 5, (-2, -2)), r"grid expects a list of int of at least 1 or none, got \(-2, -2\)"),
    ],
)
def test_invalid_token_shape_raises(values: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TokenShape(*values)


def test_docstring_example_runs() -> None:
    """The custom compression in the module's docstring works wherever a compression can be chosen."""
    code = textwrap.dedent(compression.__doc__.split("For example::\n", 1)[1].split("Wherever", 1)[0])
    registered = dict(mmf.registry.compressions._builders)
    try:
        exec(code, {})
        made = create_compression({"name": "mean", "scale": 2.0}, TokenShape(2, 3), n_latents=4)
        latents = made(Tokens(torch.ones(1, 2, 3), torch.tensor([[True, False]])))
        assert torch.equal(latents, torch.full((1, 4, 3), 2.0))
    finally:
        mmf.registry.compressions._builders = registered
