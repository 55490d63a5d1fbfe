"""What the attention blocks refuse, wrong beside right."""

from typing import Any

import pytest
import torch

import mmfusion as mmf
from mmfusion.fusion.tokens import Bottleneck, Directional, GatedQuery, Latent, Query
from mmfusion.tokens import Tokens


@pytest.mark.parametrize(
    ("name", "names", "options", "message"),
    [
        ("joint_attention", ("a", "b"), {"depth": 1}, None),
        ("joint_attention", ("a", "b"), {"depth": 0}, "depth expects int from 1 to 128, got 0"),
        ("joint_attention", ("a", "b"), {"n_heads": 3}, "n_heads must divide dim"),
        ("bottleneck", ("a", "b"), {"depth": 3, "fusion_layer": 2}, None),
        ("bottleneck", ("a", "b"), {"depth": 3, "fusion_layer": 3}, "one of the layers 0 to 2, got 3"),
        ("bottleneck", ("a", "b"), {"fusion_layer": -1}, "fusion_layer expects int from 0 to 128, got -1"),
        ("bottleneck", ("a", "b"), {"n_bottlenecks": 0}, "n_bottlenecks expects int from 1 to 4096, got 0"),
        ("directional", ("a", "b"), {"expansion": 0}, None),
        ("directional", ("a", "b"), {"depth": 0}, "depth expects int from 1 to 128, got 0"),
        ("latent", ("a", "b"), {"n_latents": 1}, None),
        ("latent", ("a", "b"), {"n_latents": 0}, "n_latents expects int from 1 to 4096, got 0"),
        ("latent", ("a", "latents"), {}, "tokens called 'latents', which is a modality's name"),
        ("query", ("a", "b"), {"queries": ["a", "b"]}, None),
        ("query", ("a", "b"), {"queries": ["x"]}, r"queries must be some of the modalities \('a', 'b'\), got \['x'\]"),
        ("query", ("a", "b"), {"queries": "a"}, "queries expects a list of str of modalities or none, got 'a'"),
        ("query", ("a", "b"), {"queries": []}, "queries must name at least one"),
        ("query", ("joint", "b"), {}, "tokens called 'joint', which is a modality's name"),
        ("gated_query", ("a", "b"), {"sources": []}, None),
        ("gated_query", ("a", "b"), {"sources": ["a", "b"]}, "one at least must ask"),
        ("gated_query", ("a", "b"), {"sources": ["x"]}, "sources must be some of the modalities"),
        ("gated_query", ("a", "b"), {"depth": 0}, "depth expects int from 1 to 128, got 0"),
    ],
)
def test_invalid_options_raise(name: str, names: tuple[str, ...], options: dict[str, Any], message: str | None) -> None:
    if message is None:
        mmf.registry.token_fusions.create(name, names, dim=8, **options)
        return
    with pytest.raises(ValueError, match=message):
        mmf.registry.token_fusions.create(name, names, dim=8, **options)


@pytest.mark.parametrize(("names", "width"), [(("a",), 8), (("a", "b"), 8), (("a", "b", "c", "d"), 24)])
def test_directional_width_matches_dim_out(names: tuple[str, ...], width: int) -> None:
    block = Directional(names, dim=8)
    assert block.dim_out == width
    assert block({name: Tokens(torch.randn(1, 2, 8)) for name in names})["a"].x.shape == (1, 2, width)


def test_modalities_exchange_only_through_bottlenecks() -> None:
    """No exchange without the first of two fusion layers: one layer writes, the next one reads."""
    a, b, other = (Tokens(torch.randn(2, 3, 8)) for _ in range(3))
    for depth, seen in ((1, False), (2, True)):
        block = Bottleneck(("a", "b"), dim=8, depth=depth).eval()
        one, two = block({"a": a, "b": b}), block({"a": a, "b": other})
        assert torch.equal(one["a"].x, two["a"].x) != seen


def test_bottleneck_ignores_modality_absent_in_batch() -> None:
    block = Bottleneck(("a", "b"), dim=8).eval()
    a, missing = Tokens(torch.randn(2, 3, 8)), Tokens(torch.randn(2, 4, 8), torch.zeros(2, 4, dtype=torch.bool))
    alone = Bottleneck(("a",), dim=8).eval()
    alone.load_state_dict({key: value for key, value in block.state_dict().items() if ".b." not in key})
    torch.testing.assert_close(block({"a": a, "b": missing})["a"].x, alone({"a": a})["a"].x)


def test_latent_ignores_missing_modality() -> None:
    block = Latent(("a", "b"), dim=8, self_attention=True).eval()
    a, missing = Tokens(torch.randn(2, 3, 8)), Tokens(torch.randn(2, 4, 8), torch.zeros(2, 4, dtype=torch.bool))
    alone = Latent(("a",), dim=8, self_attention=True).eval()
    alone.load_state_dict({key: value for key, value in block.state_dict().items() if ".b." not in key})
    assert torch.equal(block({"a": a, "b": missing})["latents"].x, alone({"a": a})["latents"].x)


@pytest.mark.parametrize("mask", [[False, False, False], [True, False, False]])
def test_gated_query_ignores_missing_source(mask: list[bool]) -> None:
    """Also where its [CLS] token is present, which tokenizers never mask."""
    block = GatedQuery(("a", "b"), dim=8).eval()
    a, source = Tokens(torch.randn(2, 3, 8)), Tokens(torch.randn(2, 3, 8), torch.tensor([mask, mask]))
    alone = GatedQuery(("a",), dim=8).eval()
    alone.load_state_dict({key: value for key, value in block.state_dict().items() if ".b." not in key})
    assert torch.equal(block({"a": a, "b": source})["a"].x, alone({"a": a})["a"].x)


def test_gate_is_between_0_and_1() -> None:
    block = GatedQuery(("a", "b"), dim=8).eval()
    layer = block.asking["a"][0]
    x = 10 * torch.randn(50, 3, 8)
    gate = layer.share("b", Tokens(x))
    assert gate.shape == (50, 1, 1)
    assert bool(((gate > 0) & (gate < 1)).all())
    assert torch.equal(layer.share("b", Tokens(torch.cat([x[:, :1], x[:, 1:] + 1], 1))), gate)
    assert not torch.equal(layer.share("b", Tokens(x + 1)), gate)


def test_queries_of_several_modalities_are_concatenated() -> None:
    block = Query(("a", "b", "c"), dim=8, queries=("c", "a")).eval()
    assert (block.queries, block.context) == (("a", "c"), ("b",))
    tokens = {name: Tokens(torch.randn(2, n, 8)) for name, n in (("a", 2), ("b", 3), ("c", 4))}
    out = block(tokens)
    assert tuple(out) == ("a", "b", "c", "joint")
    assert out["joint"].x.shape == (2, 6, 8)
    assert all(out[name] is tokens[name] for name in tokens)
