"""Heads, interactions, compressions, modulators and encodings where their inputs are sparse, tied, constant or zero.

Where a part has a kink, its gradient lies between the one-sided derivatives; the part's docstring says which it is.
"""

from collections.abc import Callable

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import mmfusion as mmf
from helpers.gradient_reference import ROWS, assert_between, one_sided, rows
from helpers.map_fusion_cases import CHANNELS, EVERY, SIZES, built, context_of
from mmfusion.fusion.vectors import GatedFusion, LowRankFusion, MaxFusion, TensorFusion
from mmfusion.fusion.vectors.vector_fusion import maximum
from mmfusion.heads import MLPHead
from mmfusion.layers.compression import TopKCompression, create_compression
from mmfusion.spec import Columns, DataSpec, Image
from mmfusion.tokenizers.tabular.piecewise_linear import piecewise_linear
from mmfusion.tokens import Present, Tokens, TokenShape

D, NAMES = 4, ("a", "b", "c")
SPEC = DataSpec({"a": Image(1, (8, 8)), "b": Image(1, (8, 8)), "c": Columns(("c",))}, n_classes=3)


class Decided(nn.Module):
    """A head per modality, and their outputs combined."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({key: MLPHead(SPEC.targets, dim=D, hidden=(5,)) for key in NAMES})
        self.decision = mmf.registry.decisions.create(name, NAMES)

    def forward(self, embeddings: dict[str, Tensor], present: Present) -> dict[str, Tensor]:
        return self.decision({key: head(embeddings[key]) for key, head in self.heads.items()}, present)


HEADS: dict[str, Callable[[], nn.Module]] = {
    "maximum": lambda: MaxFusion(NAMES, dim=D),
    "gated": lambda: GatedFusion(NAMES, dim=D),
    "gated, two": lambda: GatedFusion(NAMES[:2], dim=D),
    "low rank": lambda: LowRankFusion(NAMES, dim=D, dim_out=3),
    "tensor": lambda: TensorFusion(NAMES, dim=D, dim_out=3, project=2),
    **{f"decision, {name}": lambda name=name: Decided(name) for name in mmf.registry.decisions.list()},
}
a_few = settings(max_examples=2, phases=(Phase.explicit, Phase.generate))
seeds = st.integers(0, 10**6)


def kinds_of(n: int) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(ROWS), min_size=n, max_size=n)


def holds(function: Callable[[Tensor], Tensor], x: Tensor, seed: int) -> None:
    """The gradient of a random combination of the results, at 12 places."""
    g = torch.Generator().manual_seed(seed)
    weight = torch.randn(function(x).shape, generator=g).double()
    leaf = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad((function(leaf) * weight).sum(), leaf)
    sides = one_sided(lambda moved: (function(moved) * weight).sum(), x, step=1e-6, n_places=12, seed=seed)
    assert_between(grad, sides, tolerance=1e-3)


@pytest.mark.parametrize("name", HEADS)
@given(kinds=kinds_of(9), seed=seeds)
@a_few
def test_head_gradients(name: str, kinds: list[str], seed: int) -> None:
    torch.manual_seed(0)
    head = HEADS[name]().double().eval()
    present = {"b": torch.tensor([True, False, True])}

    def function(x: Tensor) -> Tensor:
        found = head(dict(zip(NAMES, x, strict=True)), present)
        return found["label"] if isinstance(found, dict) else found

    holds(function, rows(kinds, D, seed).view(3, 3, D), seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", mmf.registry.token_fusions.list())
@given(kinds=kinds_of(10), seed=seeds)
@a_few
def test_token_fusion_gradients(name: str, kinds: list[str], seed: int) -> None:
    torch.manual_seed(0)
    block = mmf.registry.token_fusions.create(name, ("a", "b"), dim=8).double().eval()
    mask = torch.tensor([[True, False], [True, True]])

    def function(x: Tensor) -> Tensor:
        out = block({"a": Tokens(x[:, :3]), "b": Tokens(x[:, 3:], mask)})
        return torch.cat([one.filled().flatten() for one in out.values()])

    holds(function, rows(kinds, 8, seed).view(2, 5, 8), seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", mmf.registry.compressions.list())
@given(kinds=kinds_of(8), seed=seeds)
@a_few
def test_compression_gradients(name: str, kinds: list[str], seed: int) -> None:
    torch.manual_seed(0)
    compress = create_compression(name, TokenShape(4, 6), n_latents=2).double()
    mask = torch.tensor([[True, True, False, True], [True] * 4])
    holds(lambda x: compress(Tokens(x, mask)), rows(kinds, 6, seed).view(2, 4, 6), seed)


@pytest.mark.parametrize("name", EVERY)
@given(seed=seeds, shape=st.sampled_from(["sparse", "constant", "zero"]))
@a_few
def test_map_fusion_gradients(name: str, seed: int, shape: str) -> None:
    torch.manual_seed(0)
    block = built(EVERY[name], {"a": "a"})
    point = min(block.points)
    x = rows([shape] * 2, CHANNELS[point] * 6, seed).view(2, CHANNELS[point], *SIZES[2])
    holds(lambda x: block({"a": x}, context_of(), point)["a"], x, seed)


@given(value=st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0, 4.0]), seed=seeds)
@a_few
def test_piecewise_linear_gradient_at_edges(value: float, seed: int) -> None:
    edges = torch.tensor([[-1.0, 0.0, 1.0, 1.0, 3.0]], dtype=torch.float64)
    holds(lambda x: piecewise_linear(x, edges), torch.tensor([[value]], dtype=torch.float64), seed)


def test_piecewise_linear_gradient_at_edge_is_mean_of_sides() -> None:
    x = torch.tensor([[1.0]], requires_grad=True)
    encoded = piecewise_linear(x, torch.tensor([[-1.0, 1.0, 1.0, 2.0, 5.0]]))
    slopes = [torch.autograd.grad(one, x, retain_graph=True)[0].item() for one in encoded[0, 0]]
    assert slopes == [0.25, 0.0, 0.5, 0.0]


def test_equal_maxima_share_gradient() -> None:
    """By halves, by thirds; a missing modality gets none, whatever its content."""
    x = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]], [[0.5, 0.0]]], requires_grad=True)
    (grad,) = torch.autograd.grad(maximum(x, torch.ones(3, 1, 1, dtype=torch.bool)).sum(), x)
    torch.testing.assert_close(grad[:, 0], torch.tensor([[0.5, 1 / 3], [0.5, 1 / 3], [0.0, 1 / 3]]))
    there = torch.tensor([True, False, True]).view(3, 1, 1)
    (grad,) = torch.autograd.grad(maximum(x, there).sum(), x)
    assert grad[:, 0].tolist() == [[1.0, 0.5], [0.0, 0.0], [0.0, 0.5]]


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1.0, 1e30])
def test_topk_gradient_at_any_length_of_direction(scale: float) -> None:
    """A direction of zero scores every token 0 and has no gradient; otherwise only the direction counts."""
    compress = TopKCompression(TokenShape(3, 2), n_latents=2)
    x = torch.tensor([[[3.0, 1.0], [-1.0, 2.0], [5.0, 3.0]]])
    with torch.no_grad():
        compress.direction.copy_(torch.tensor([0.6, 0.8]) * scale)
    out = compress(Tokens(x))
    (grad,) = torch.autograd.grad(out.sum(), compress.direction)
    if scale == 0:
        assert out.sum().item() == pytest.approx(x[0, compress_kept(x, out)].sum().item() / 2)
        assert not bool(grad.any())
        return
    gates = torch.sigmoid(x[0, [0, 2]] @ torch.tensor([0.6, 0.8]))
    torch.testing.assert_close(out[0], x[0, [0, 2]] * gates.unsqueeze(1))
    # d sigmoid(x p / |p|) / dp is across p, and 1 / |p| as large as at length 1.
    slope = (x[0, [0, 2]].sum(1) * gates * (1 - gates)) @ x[0, [0, 2]]
    across = slope - (slope @ torch.tensor([0.6, 0.8])) * torch.tensor([0.6, 0.8])
    torch.testing.assert_close(grad * scale, across, rtol=1e-4, atol=1e-5)


def compress_kept(x: Tensor, out: Tensor) -> list[int]:
    """Which tokens came through with a gate of one half."""
    return [i for i, token in enumerate(x[0]) if any(torch.equal(token / 2, latent) for latent in out[0])]
