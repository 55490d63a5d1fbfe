"""What every registered token compression keeps, whatever it is given: one shape out, and blind to what is masked."""

import math
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import mmfusion as mmf
from helpers.marks import EXHAUSTIVE, every_compiler, within
from helpers.small import TABLE, loss_inputs, make_inputs, make_labels, make_spec
from mmfusion.layers.compression import TokenShape, create_compression
from mmfusion.tokenizers import CompressedTable, Pyramid
from mmfusion.tokens import Tokens

NAMES = mmf.registry.compressions.list()
SHAPES: dict[str, TokenShape] = {
    "map": TokenShape.of_map((6, 4, 5)),
    "volume": TokenShape.of_map((4, 3, 2, 4)),
    "table": TokenShape(7, 6),
    "one_token": TokenShape(1, 5),
    "one_position": TokenShape.of_map((3, 1, 1)),
    "one_feature": TokenShape.of_map((1, 3, 3)),
}
LATENTS = [1, 3, 8, 30]  # fewer than tokens, and more
B = 4
# The softmax does not change when all its scores move alike: the bias of a key has a gradient of zero.
WITHOUT_GRADIENT = ("key.bias",)
# Those whose parameters grow with the number of tokens.
OF_ONE_SIZE = ("conv",)

every_compression = pytest.mark.parametrize("name", NAMES)
every_shape = pytest.mark.parametrize("kind", SHAPES)
every_number = within("n_latents", LATENTS)
masked_or_not = within("masked", [False, True])


@cache
def build_compression(name: str, kind: str, n_latents: int, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Built once; tests leave it as they find it."""
    torch.manual_seed(0)
    return create_compression(name, SHAPES[kind], n_latents=n_latents).to(dtype)


def tokens_of(kind: str, masked: bool, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tokens:
    """Random tokens, those of a map as a view of it; where masked, the first case's all and half of the others'."""
    g, shape = torch.Generator().manual_seed(seed), SHAPES[kind]
    x = torch.randn(B, shape.dim, shape.n_tokens, generator=g).to(dtype).transpose(1, 2)
    mask = torch.rand(B, shape.n_tokens, generator=g) < 0.5
    mask[0] = False
    return Tokens(x if shape.grid else x.contiguous(), mask if masked else None)


def spoilt(tokens: Tokens, content: float) -> Tokens:
    return Tokens(torch.where(tokens.mask.unsqueeze(-1), tokens.x, content), tokens.mask)


def with_gradients(compress: nn.Module, tokens: Tokens) -> list[Tensor]:
    """Latents, then the gradients of the tokens and of every parameter."""
    x = tokens.x.detach().requires_grad_()
    latents = compress(Tokens(x, tokens.mask))
    weights = torch.randn(latents.shape, generator=torch.Generator().manual_seed(1)).to(latents.dtype)
    of = (x, *compress.parameters())
    return [latents.detach(), *torch.autograd.grad((latents * weights).sum(), of)]


@every_shape
@every_compression
@masked_or_not
@every_number
def test_output_shape_is_finite_and_deterministic(name: str, kind: str, n_latents: int, masked: bool) -> None:
    """Shape; finite latents and gradients, also of a case whose tokens are all masked; deterministic."""
    compress, tokens = build_compression(name, kind, n_latents), tokens_of(kind, masked)
    found, again = (with_gradients(compress, tokens) for _ in range(2))
    assert found[0].shape == (B, n_latents, SHAPES[kind].dim)
    assert compress.n_latents == n_latents
    assert all(bool(x.isfinite().all()) for x in found)
    assert all(torch.equal(one, other) for one, other in zip(found, again, strict=True))


@pytest.mark.slow
@given(st.integers(0, 10**6), st.sampled_from([math.nan, math.inf, -math.inf, 1e30]))
@settings(max_examples=6)
@every_shape
@every_compression
def test_masked_content_has_no_effect(name: str, kind: str, seed: int, content: float) -> None:
    """On any bit of latents or gradients, and no gradient reaches it."""
    for n_latents in LATENTS:
        compress, tokens = build_compression(name, kind, n_latents), tokens_of(kind, True, seed=seed)
        one, other = with_gradients(compress, tokens), with_gradients(compress, spoilt(tokens, content))
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
        assert not bool(other[1][~tokens.mask].any())


@given(st.integers(0, 10**6), st.permutations(range(B)))
@settings(max_examples=6)
@every_shape
@every_compression
@masked_or_not
def test_equivariant_to_case_order(name: str, kind: str, masked: bool, seed: int, order: list[int]) -> None:
    compress, tokens = build_compression(name, kind, 3), tokens_of(kind, masked, seed=seed)
    whole = compress(tokens)
    for rows in (order, order[:1]):
        some = compress(Tokens(tokens.x[rows], tokens.mask[rows] if masked else None))
        torch.testing.assert_close(some, whole[rows], rtol=1e-4, atol=1e-5)


@every_shape
@every_compression
@masked_or_not
def test_invariant_to_memory_layout(name: str, kind: str, masked: bool) -> None:
    compress, tokens = build_compression(name, kind, 3), tokens_of(kind, masked)
    stored = Tokens(tokens.x.contiguous(), tokens.mask)
    torch.testing.assert_close(compress(stored), compress(tokens), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["map", "volume", "table"])
@every_compression
@masked_or_not
def test_every_parameter_gets_gradient(name: str, kind: str, masked: bool) -> None:
    compress = build_compression(name, kind, 3)
    _, of_tokens, *grads = with_gradients(compress, tokens_of(kind, masked))
    assert bool(of_tokens.any())
    names = [key for key, _ in compress.named_parameters()]
    without = [key for key, grad in zip(names, grads, strict=True) if not bool(grad.any())]
    assert [key for key in without if not key.endswith(WITHOUT_GRADIENT)] == []


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 2e-2), (torch.bfloat16, 1e-1)])
@pytest.mark.parametrize("kind", ["map", "table"])
@every_compression
@masked_or_not
def test_precision_follows_input_dtype(
    name: str, kind: str, dtype: torch.dtype, tolerance: float, masked: bool
) -> None:
    """Computed in the dtype of the input, close to float64."""
    tokens = tokens_of(kind, masked, dtype=dtype)
    compress = build_compression(name, kind, 8, dtype)
    exact = create_compression(name, SHAPES[kind], n_latents=8).double()
    exact.load_state_dict({key: value.double() for key, value in compress.state_dict().items()})
    found, expected = compress(tokens), exact(Tokens(tokens.x.double(), tokens.mask))
    assert (found.dtype, expected.dtype) == (dtype, torch.float64)
    torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["map", "table"])
@every_compression
@masked_or_not
def test_autocast_is_close_to_float32(name: str, kind: str, dtype: torch.dtype, masked: bool) -> None:
    """Tokens in full or in half precision; latents and gradients close to those without."""
    compress, tokens = build_compression(name, kind, 8), tokens_of(kind, masked)
    expected = with_gradients(compress, tokens)
    for given_in in (torch.float32, dtype):
        with torch.autocast("cpu", dtype):
            found = with_gradients(compress, Tokens(tokens.x.to(given_in), tokens.mask))
        assert found[0].is_floating_point()
        assert all(bool(x.isfinite().all()) for x in found)
        torch.testing.assert_close(found[0].float(), expected[0], rtol=5e-2, atol=5e-2)


@every_shape
@every_compression
def test_gradcheck(name: str, kind: str) -> None:
    compress, tokens = build_compression(name, kind, 3, torch.float64), tokens_of(kind, True, dtype=torch.float64)
    x = tokens.x.detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: compress(Tokens(x, tokens.mask)), (x,), fast_mode=True)


@pytest.mark.slow
@every_shape
@every_compression
@masked_or_not
def test_runs_on_meta_device(name: str, kind: str, masked: bool) -> None:
    """Built and run there, backward too: shapes only."""
    with torch.device("meta"):
        compress = create_compression(name, SHAPES[kind], n_latents=3)
    tokens = tokens_of(kind, masked)
    x = tokens.x.to("meta").requires_grad_()
    latents = compress(Tokens(x, tokens.mask.to("meta") if masked else None))
    latents.sum().backward()
    assert (latents.shape, latents.device.type, x.grad.shape) == ((B, 3, x.shape[2]), "meta", x.shape)


@every_shape
@every_compression
def test_state_dict_round_trip(name: str, kind: str) -> None:
    """Into another instance, and into one built on the meta device: no state outside."""
    compress, tokens = build_compression(name, kind, 3), tokens_of(kind, False)
    with torch.device("meta"):
        empty = create_compression(name, SHAPES[kind], n_latents=3).to_empty(device="cpu")
    for other in (create_compression(name, SHAPES[kind], n_latents=3), empty):
        other.load_state_dict(compress.state_dict())
        assert torch.equal(other(tokens), compress(tokens))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OF_ONE_SIZE])
def test_parameters_fit_any_image_size(name: str) -> None:
    """What was learned at one image size loads at another."""
    small, large = (create_compression(name, TokenShape.of_map((6, n, n + 1)), n_latents=3) for n in (4, 9))
    large.load_state_dict(small.state_dict())
    assert large(Tokens(torch.randn(2, 90, 6))).shape == (2, 3, 6)


@pytest.mark.parametrize(
    ("kind", "masked"),
    [
        ("map", True),
        ("table", False),
        *(pytest.param(kind, False, marks=EXHAUSTIVE) for kind in ("map", "volume")),
    ],
)
@every_compiler
@every_compression
def test_compiles_without_graph_break(name: str, backend: str, kind: str, masked: bool) -> None:
    """As one graph, with the same numbers; masked content has no effect there either."""
    compress, tokens = build_compression(name, kind, 8), tokens_of(kind, masked)
    torch.compiler.reset()
    compiled = torch.compile(compress, backend=backend, fullgraph=True)
    found, expected = with_gradients(compiled, tokens), with_gradients(compress, tokens)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    if masked:
        again = with_gradients(compiled, spoilt(tokens, math.nan))
        assert all(torch.equal(one, other) for one, other in zip(again, found, strict=True))


@pytest.mark.slow
@every_compression
def test_exports(name: str) -> None:
    class Latents(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.compress = build_compression(name, "map", 8)

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            out: Tensor = self.compress(Tokens(x, mask))
            return out

    tokens = tokens_of("map", True)
    program = torch.export.export(Latents(), tuple(tokens))
    torch.testing.assert_close(program.module()(*tokens), Latents()(*tokens), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("choice", [*NAMES, *({"name": name} for name in NAMES)], ids=str)
def test_compressions_work_in_pyramid_table_and_model(choice: Any) -> None:
    """Every parameter is trained."""
    spec = make_spec(size=(16, 16))
    for n_latents in (2, 20):
        maps = [torch.randn(2, 6, 4, 4), torch.randn(2, 8, 2, 2)]
        shapes = [x.shape[1:] for x in maps]
        pyramid = Pyramid(spec["image0"], shapes, dim=8, n_latents=n_latents, compression=choice)
        assert [tuple(tokens.x.shape) for tokens in pyramid(maps)] == [(2, n_latents, 8)] * 2
        masking = {"name": "feature", "missing": "mask"}
        table = CompressedTable(TABLE, dim=8, of=masking, n_latents=n_latents, compression=choice)
        (tokens,) = table(make_inputs(spec, 2, missing_cells=True)["table0"])
        assert tokens.x.shape == (2, n_latents, 8)
        assert tokens.mask.tolist() == [[False] * n_latents, [True] * n_latents]
        assert bool(tokens.x.isfinite().all())
    model = mmf.create_model("cfcml", spec, dim=8, image_latents=3, table_latents=2, hidden=(8,), compression=choice)
    losses = mmf.create_loss(model)(loss_inputs(model(make_inputs(spec, 6, missing_cells=True)), make_labels(spec, 6)))
    sum(losses.values()).backward()
    assert [key for key, p in model.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())] == []


@every_compression
def test_invalid_options_raise(name: str) -> None:
    with pytest.raises(ValueError, match=r"n_latents expects int from 1 to 4096, got 0"):
        create_compression(name, SHAPES["map"], n_latents=0)
    with pytest.raises(ValueError, match=f"token compression {name!r} has no option 'latents'"):
        create_compression({"name": name, "latents": 3}, SHAPES["map"], n_latents=3)
