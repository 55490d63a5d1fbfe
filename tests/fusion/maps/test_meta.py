import math
from typing import Any

import pytest
import torch

from helpers.map_fusion_cases import built, context_of, elementwise, linear, maps_of, relu
from mmfusion.fusion.maps import MetaBlock, MetaNet
from mmfusion.tokens import Tokens

ROUTES = {"a": "skin"}
both_kinds = pytest.mark.parametrize("n_axes", [2, 3])


def sigmoid(v: float) -> float:
    return 1 / (1 + math.exp(-v))


def normed(layers: Any, table: list[float]) -> list[float]:
    """A linear layer and batch normalisation by the running statistics."""
    layer, norm = layers
    columns = zip(
        linear(layer, table),
        norm.running_mean.tolist(),
        norm.running_var.tolist(),
        norm.weight.tolist(),
        norm.bias.tolist(),
        strict=True,
    )
    return [(v - middle) / math.sqrt(var + 1e-5) * weight + bias for v, middle, var, weight, bias in columns]


@both_kinds
def test_metablock_matches_reference(n_axes: int) -> None:
    block = built(lambda sites: MetaBlock(sites, at=(1,)), ROUTES, n_axes=n_axes)
    maps, context = maps_of(1, ROUTES, n_axes=n_axes), context_of()
    tables = context.x[:, 0].tolist()
    f = [normed(block.f["skin"]["1"], table) for table in tables]
    g = [normed(block.g["skin"]["1"], table) for table in tables]
    expected = elementwise(maps["a"], lambda i, c, value: sigmoid(math.tanh(value * f[i][c]) + g[i][c]))
    torch.testing.assert_close(block(maps, context, 1)["a"], expected, rtol=1e-12, atol=1e-12)


@both_kinds
def test_metanet_matches_reference(n_axes: int) -> None:
    block = built(lambda sites: MetaNet(sites, at=(2,), hidden=5), ROUTES, n_axes=n_axes)
    maps, context = maps_of(2, ROUTES, n_axes=n_axes), context_of()
    layers = block.gate["skin"]["2"]
    gates = [[sigmoid(v) for v in linear(layers[2], relu(linear(layers[0], t)))] for t in context.x[:, 0].tolist()]
    expected = elementwise(maps["a"], lambda i, c, value: gates[i][c] * value)
    torch.testing.assert_close(block(maps, context, 2)["a"], expected, rtol=1e-12, atol=1e-12)


def test_metablock_batch_statistics_are_of_present_tables() -> None:
    """In training: statistics of present tables only, each counted once, also for two images on one route."""
    routes = {"a": "skin", "b": "skin"}
    there = torch.tensor([True, False, True, True])
    context = context_of(4, mask=there)
    some, only = (built(lambda sites: MetaBlock(sites, at=(1,)), routes).train() for _ in range(2))
    only.load_state_dict(some.state_dict())
    made = some(maps_of(1, routes, b=4), context, 1)
    alone = only({name: x[there] for name, x in maps_of(1, routes, b=4).items()}, Tokens(context.x[there]), 1)
    for name in routes:
        torch.testing.assert_close(made[name][there], alone[name])
    for key, value in some.state_dict().items():
        torch.testing.assert_close(value, only.state_dict()[key])
    assert some.f["skin"]["1"][1].num_batches_tracked == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_metablock_batch_of_one_uses_running_statistics(dtype: torch.dtype) -> None:
    """The running statistics stay as they are: the value is that of evaluation, the mode that of training."""
    block = built(lambda sites: MetaBlock(sites, at=(1,)), ROUTES).train()
    maps = maps_of(1, ROUTES, b=3)
    block(maps, context_of(3), 1)  # so that they are not the initial ones
    one = context_of(3, mask=torch.tensor([False, True, False]))
    before = {key: value.clone() for key, value in block.state_dict().items()}
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        made = block(maps, one, 1)["a"]
        again = block(maps, one, 1)["a"]
    assert torch.equal(made, again)
    assert all(part.training for part in block.modules())
    torch.testing.assert_close(block.state_dict(), before, rtol=0, atol=0)
    made.sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in block.parameters())
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        torch.testing.assert_close(block.eval()(maps, one, 1)["a"], made, rtol=0, atol=0)
    torch.testing.assert_close(made[[0, 2]], maps["a"][[0, 2]], rtol=0, atol=0)
