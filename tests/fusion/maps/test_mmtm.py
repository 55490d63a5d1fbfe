import math

import pytest
import torch
from torch import Tensor, nn

from helpers.map_fusion_cases import CHANNELS, built, context_of, elementwise, linear, maps_of, mean, relu, sites_of
from mmfusion.fusion.maps import MMTM

ROUTES = {"a": "skin", "b": "skin"}


def by_scalars(block: MMTM, maps: dict[str, Tensor], tables: list[list[float]], point: int) -> dict[str, Tensor]:
    """``2 sigmoid(B_m relu(A [means; table] + a) + b_m) * map_m``."""
    gates: dict[str, list[list[float]]] = {name: [] for name in maps}
    for i, table in enumerate(tables):
        squeezed = [mean(channel.flatten().tolist()) for x in maps.values() for channel in x[i]]
        joint = relu(linear(block.join[str(point)], squeezed + table))
        for name in maps:
            said = linear(block.gate[str(point)][name], joint)
            gates[name].append([2 / (1 + math.exp(-v)) for v in said])
    return {name: elementwise(x, lambda i, c, v, g=gates[name]: g[i][c] * v) for name, x in maps.items()}


@pytest.mark.parametrize("n_axes", [2, 3])
@pytest.mark.parametrize("point", CHANNELS)
@pytest.mark.parametrize("d", [0, 3])
def test_mmtm_matches_reference(d: int, point: int, n_axes: int) -> None:
    block = built(lambda sites: MMTM(sites, at=None, ratio=3.0), ROUTES, d=d, n_axes=n_axes)
    width = 2 * CHANNELS[point] + d
    assert block.join[str(point)].weight.shape == (int(2 * width / 3), width)
    maps, context = maps_of(point, ROUTES, n_axes=n_axes), context_of(d=d)
    made = block(maps, context if d else None, point)
    for name, expected in by_scalars(block, maps, context.x[:, 0].tolist(), point).items():
        torch.testing.assert_close(made[name], expected, rtol=1e-12, atol=1e-12)


def test_streams_exchange_information() -> None:
    block = built(lambda sites: MMTM(sites, at=(1,)), ROUTES, d=0)
    maps = maps_of(1, ROUTES)
    before = block(maps, None, 1)["a"]
    assert not torch.allclose(block(maps | {"b": maps["b"] + 1}, None, 1)["a"], before)


def test_zero_gate_is_identity() -> None:
    """A gate of zero leaves a map as it is; public copies halve it."""
    block = built(lambda sites: MMTM(sites, at=(1,)), ROUTES)
    for layer in block.gate["1"].values():
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    maps = maps_of(1, ROUTES)
    made = block(maps, context_of(), 1)
    assert all(torch.equal(made[name], maps[name]) for name in maps)


def test_absent_streams_and_tables_count_as_zeros() -> None:
    """A stream that is left out, a table that is masked, a table that is left out."""
    block = built(lambda sites: MMTM(sites, at=(1,)), ROUTES)
    maps, context = maps_of(1, ROUTES), context_of()
    zeros = block(maps | {"b": torch.zeros_like(maps["b"])}, context, 1)["a"]
    torch.testing.assert_close(block({"a": maps["a"]}, context, 1)["a"], zeros)
    nothing = block(maps, context._replace(x=torch.zeros_like(context.x)), 1)
    nobody = torch.zeros(2, dtype=torch.bool)
    for told in (context_of(mask=nobody), None):
        assert torch.equal(block(maps, told, 1)["a"], nothing["a"])
    assert block({}, context, 1) == {}


@pytest.mark.parametrize(
    ("routes", "d", "message"),
    [
        ({"a": "skin"}, 0, r"there is a single one: \['a'\]"),
        ({"a": "skin"}, 3, None),
        (ROUTES, 0, None),
    ],
)
def test_fewer_than_two_streams_raises(routes: dict[str, str], d: int, message: str | None) -> None:
    if message is None:
        built(lambda sites: MMTM(sites), routes, d=d)
    else:
        with pytest.raises(ValueError, match=message):
            built(lambda sites: MMTM(sites), routes, d=d)


def test_invalid_options_and_inputs_raise() -> None:
    with pytest.raises(ValueError, match=r"ratio expects float from 1 to 16384, got 0.0"):
        MMTM(sites_of(ROUTES), ratio=0.0)
    block = built(lambda sites: MMTM(sites, at=(1,)), ROUTES)
    with pytest.raises(ValueError, match=r"not built for the images \['a', 'b'\] before stage 2"):
        block(maps_of(2, ROUTES), context_of(), 2)
    with pytest.raises(ValueError, match=r"not built for the images \['x'\] before stage 1"):
        block(maps_of(1, ["x"]), context_of(), 1)
