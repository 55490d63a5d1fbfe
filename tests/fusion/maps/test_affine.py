import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import mmfusion as mmf
from helpers.map_fusion_cases import CHANNELS, D, built, context_of, elementwise, linear, maps_of, mean, relu, sites_of
from mmfusion.fusion.maps import Daft, Film, Mul

ROUTES = {"a": "skin"}
EXACT: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}
both_kinds = pytest.mark.parametrize("n_axes", [2, 3])


def called(block: Any, point: int, n_axes: int) -> tuple[Tensor, list[list[float]], Tensor]:
    """The map that came, the table's features, the map that was made."""
    maps, context = maps_of(point, ROUTES, n_axes=n_axes), context_of()
    return maps["a"], context.x[:, 0].tolist(), block(maps, context, point)["a"]


@both_kinds
@pytest.mark.parametrize("point", CHANNELS)
def test_mul_matches_reference(point: int, n_axes: int) -> None:
    """One vector per point, each a linear function of the previous one."""
    block = built(lambda sites: Mul(sites, hidden=4), ROUTES, n_axes=n_axes)
    x, tables, made = called(block, point, n_axes)
    first = block.first["skin"]
    assert (first[0].in_features, first[0].out_features) == (D, 4)
    vectors = [linear(first[2], relu(linear(first[0], table))) for table in tables]
    for layer in list(block.onward["skin"].values())[:point]:
        vectors = [linear(layer, vector) for vector in vectors]
    torch.testing.assert_close(made, elementwise(x, lambda i, c, value: value * vectors[i][c]), **EXACT)


def test_mul_biases_start_at_one() -> None:
    block = Mul(sites_of(ROUTES))
    layers = [block.first["skin"][2], *block.onward["skin"].values()]
    assert all(torch.equal(layer.bias, torch.ones_like(layer.bias)) for layer in layers)


@both_kinds
@pytest.mark.parametrize("point", [0, 2])
@pytest.mark.parametrize(
    ("options", "hidden"),
    [
        ({}, False),
        ({"hidden": (5,)}, True),
        ({"hidden": (7,), "bias": False, "offset": 0.0}, True),
    ],
)
def test_film_matches_reference(options: dict[str, Any], hidden: bool, point: int, n_axes: int) -> None:
    block = built(lambda sites: Film(sites, **options), ROUTES, n_axes=n_axes)
    x, tables, made = called(block, point, n_axes)
    layers, n = block.generate["skin"][str(point)], CHANNELS[point]
    said = [linear(layers[2], relu(linear(layers[0], t))) if hidden else linear(layers[0], t) for t in tables]
    offset = options.get("offset", 1.0)
    expected = elementwise(x, lambda i, c, value: (offset + said[i][c]) * value + said[i][n + c])
    torch.testing.assert_close(made, expected, **EXACT)
    assert all((layer.bias is None) == (options.get("bias") is False) for layer in layers if hasattr(layer, "bias"))


@both_kinds
def test_film_with_norm_matches_reference(n_axes: int) -> None:
    """Each case by its own mean and variance, then scale and shift, then ReLU."""
    block = built(lambda sites: Film(sites, norm=True), ROUTES, n_axes=n_axes)
    x, tables, made = called(block, 1, n_axes)
    said = [linear(block.generate["skin"]["1"][0], table) for table in tables]
    moments = []
    for case in x:
        values = case.flatten().tolist()
        middle = mean(values)
        moments.append((middle, math.sqrt(mean([(value - middle) ** 2 for value in values]) + 1e-5)))

    def one(i: int, c: int, value: float) -> float:
        normed = (value - moments[i][0]) / moments[i][1]
        return max(0.0, (1 + said[i][c]) * normed + said[i][3 + c])

    torch.testing.assert_close(made, elementwise(x, one), **EXACT)


ACTIVATIONS: dict[str, Callable[[float], float]] = {
    "linear": lambda v: v,
    "tanh": math.tanh,
    "sigmoid": lambda v: 1 / (1 + math.exp(-v)),
}


@both_kinds
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_daft_matches_reference(activation: str, offset: float, n_axes: int) -> None:
    block = built(
        lambda sites: Daft(sites, at=(1,), reduction=1.5, activation=activation, offset=offset),
        ROUTES,
        n_axes=n_axes,
    )
    x, tables, made = called(block, 1, n_axes)
    layers = block.generate["skin"]["1"]
    assert layers[0].weight.shape == (4, CHANNELS[1] + D)  # int(6 / 1.5)
    assert layers[0].bias is layers[2].bias is None
    said = []
    for case, table in zip(x, tables, strict=True):
        means = [mean(channel.flatten().tolist()) for channel in case]
        said.append(linear(layers[2], relu(linear(layers[0], means + table))))
    act = ACTIVATIONS[activation]
    expected = elementwise(x, lambda i, c, value: (offset + act(said[i][c])) * value + said[i][3 + c])
    torch.testing.assert_close(made, expected, **EXACT)


def test_daft_batch_of_one_matches_batch() -> None:
    """Squeezing the mean would also remove the axis of the batch."""
    block = built(lambda sites: Daft(sites, at=(1,)), ROUTES).train()
    maps, context = maps_of(1, ROUTES, b=3), context_of(3)
    whole = block(maps, context, 1)["a"]
    for i in range(3):
        alone = block({"a": maps["a"][i : i + 1]}, mmf.Tokens(context.x[i : i + 1]), 1)["a"]
        torch.testing.assert_close(alone, whole[i : i + 1], **EXACT)


@pytest.mark.parametrize(("reduction", "hidden"), [(7.0, 1), (1.0, 6), (100.0, 1)])
def test_daft_hidden_width_follows_reduction(reduction: float, hidden: int) -> None:
    block = built(lambda sites: Daft(sites, at=(1,), reduction=reduction), ROUTES)
    assert block.generate["skin"]["1"][0].out_features == hidden


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "relu"}, "activation expects one of linear, tanh, sigmoid, got 'relu'"),
        ({"reduction": 0.0}, "reduction expects float from 1 to 16384, got 0.0"),
    ],
)
def test_daft_invalid_options_raise(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Daft(sites_of(ROUTES), **options)
