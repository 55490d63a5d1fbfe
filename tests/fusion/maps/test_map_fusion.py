"""What holds for every map fusion, and what the base refuses."""

import re
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from helpers.map_fusion_cases import CHANNELS, CONDITIONED, EVERY, SIZES, D, built, context_of, maps_of, sites_of
from mmfusion import registry
from mmfusion.fusion.maps import Film, MapFusion, MapSites, Mul
from mmfusion.fusion.maps.map_fusion import over_present
from mmfusion.tokens import Tokens

ROUTES = {"a": "skin", "b": "skin", "c": "deep"}
every = pytest.mark.parametrize("name", EVERY)
conditioned = pytest.mark.parametrize("name", CONDITIONED)


def test_all_registered_map_fusions_are_tested() -> None:
    assert {name.partition(",")[0] for name in EVERY} == set(registry.map_fusions.list())
    for name in registry.map_fusions.list():
        assert isinstance(registry.map_fusions.create(name, sites_of(ROUTES)), MapFusion)


@every
@pytest.mark.parametrize("n_axes", [2, 3])
def test_output_shapes_match_maps(name: str, n_axes: int) -> None:
    block = built(EVERY[name], ROUTES, n_axes=n_axes)
    for point in CHANNELS:
        maps = maps_of(point, ROUTES, n_axes=n_axes)
        made = block(maps, context_of(), point)
        assert {key: (x.shape, x.dtype) for key, x in made.items()} == {
            key: (x.shape, torch.float64) for key, x in maps.items()
        }
        assert not any(torch.equal(made[key], maps[key]) for key in maps)


@pytest.mark.slow
@conditioned
@given(st.lists(st.booleans(), min_size=1, max_size=5), st.sampled_from([float("nan"), float("inf"), 3.0]))
def test_case_without_table_keeps_its_map(name: str, there: list[bool], content: float) -> None:
    """Bit for bit, whatever the table contains; the other cases are as without it."""
    block, row = built(EVERY[name], ROUTES), torch.tensor(there)
    maps, context = maps_of(1, ROUTES, b=len(there)), context_of(len(there))
    spoilt = Tokens(torch.where(row.view(-1, 1, 1), context.x, content), row.view(-1, 1))
    made, whole = block(maps, spoilt, 1), block(maps, context, 1)
    for key, x in maps.items():
        assert torch.equal(made[key][~row], x[~row])
        torch.testing.assert_close(made[key][row], whole[key][row])
    assert all(torch.equal(x, maps[key]) for key, x in block(maps, None, 1).items())


@pytest.mark.slow
@every
@given(st.permutations(range(4)))
def test_equivariant_to_case_order(name: str, order: list[int]) -> None:
    block = built(EVERY[name], ROUTES)
    maps, context = maps_of(2, ROUTES, b=4), context_of(4)
    whole = block(maps, context, 2)
    moved = block({key: x[order] for key, x in maps.items()}, Tokens(context.x[order]), 2)
    for key, x in whole.items():
        torch.testing.assert_close(moved[key], x[order])


@conditioned
def test_images_on_one_route_share_weights(name: str) -> None:
    block, context = built(EVERY[name], ROUTES), context_of()
    x = maps_of(1, ["a"])["a"]
    made = block(dict.fromkeys(ROUTES, x), context, 1)
    assert torch.equal(made["a"], made["b"])
    assert not torch.equal(made["a"], made["c"])
    assert torch.equal(block({"b": x}, context, 1)["b"], made["b"])


@every
def test_state_dict_round_trip_and_gradients(name: str) -> None:
    one, other = built(EVERY[name], ROUTES), built(EVERY[name], ROUTES)
    other.load_state_dict(one.state_dict())
    for point in CHANNELS:
        made = one(maps_of(point, ROUTES, b=5), context_of(5), point)
        again = other(maps_of(point, ROUTES, b=5), context_of(5), point)
        assert all(torch.equal(again[key], x) for key, x in made.items())
        sum(x.square().sum() for x in made.values()).backward()
    assert [key for key, p in one.named_parameters() if p.grad is None or not bool(p.grad.any())] == []


@pytest.mark.parametrize(
    ("at", "n_stages", "points"),
    [
        (None, 2, {0, 1, 2}),
        ((-1,), 4, {4}),
        ((-2, 3), 4, {3}),
        ((0, -1), 1, {0, 1}),
        ((5,), 4, None),
        ((0, -6), 4, None),
    ],
)
def test_points_of_at(at: tuple[int, ...] | None, n_stages: int, points: set[int] | None) -> None:
    sites = MapSites({"a": "skin"}, {"a": [(2, 3, 3)] * (n_stages + 1)}, d_context=D)
    assert sites.n_stages == n_stages
    if points is None:
        with pytest.raises(ValueError, match=r"Mul is to act at \[(5|-6)\]; 4 stages have the points 0, .* -5 to -1"):
            Mul(sites, at=at)
    else:
        assert Mul(sites, at=at).points == points


def test_complete_when_constructed() -> None:
    """Parameters per route and point, of the channels there; no lazy parameters."""
    sites = MapSites({"a": "skin", "b": "deep"}, {"a": [(2, 4), (3, 2)], "b": [(4, 4), (5, 2)]}, d_context=D)
    block = Film(sites, at=(1,))
    assert block.channels == {"skin": {1: 3}, "deep": {1: 5}}
    assert {key: tuple(p.shape) for key, p in block.named_parameters()} == {
        "generate.skin.1.0.weight": (6, D),
        "generate.skin.1.0.bias": (6,),
        "generate.deep.1.0.weight": (10, D),
        "generate.deep.1.0.bias": (10,),
    }


def test_subset_of_images() -> None:
    block = Film(sites_of(ROUTES).only("a", "c"), at=(1,))
    assert (block.routes, set(block.channels)) == ({"a": "skin", "c": "deep"}, {"skin", "deep"})
    with pytest.raises(ValueError, match=r"there is no map of \['x'\]; there are maps of \['a', 'b', 'c'\]"):
        sites_of(ROUTES).only("a", "x")


X = torch.zeros(1, 2, 2, 2)
SITES = sites_of(ROUTES)


def unlike() -> MapSites:
    return MapSites(ROUTES, {**SITES.shapes, "b": [(7, *SIZES[2])] * 3}, d_context=D)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Film(MapSites({}, {}, d_context=D)), "map fusion needs an image"),
        (lambda: MapSites({"a": "x"}, SITES.shapes), r"routes of \['a'\] and maps of \['a', 'b', 'c'\]"),
        (
            lambda: MapSites({"a": "x", "b": "x"}, {"a": [(1, 2)] * 2, "b": [(1, 2)] * 3}),
            r"one number of stages, got {'a': 1, 'b': 2}",
        ),
        (lambda: Film(SITES, at=()), r"needs a point to act at, got at=\[\]"),
        (lambda: Film(sites_of(ROUTES, d=0)), "Film is conditioned on a table"),
        (lambda: Film(unlike()), "images on the route 'skin' have maps of different channels"),
        (
            lambda: Film(MapSites({"a": "x"}, {"a": [None, None, (2, 3)]}, d_context=D, whole=["vit"]), at=(1,)),
            r"encoder 'vit' cannot be taken apart between its stages, so Film cannot act inside it: .*at=\(-1,\)",
        ),
        (lambda: built(EVERY["film"], ROUTES)({"a": X}, context_of(1), 7), r"not built for the images \['a'\] before"),
        (lambda: built(EVERY["film"], ROUTES)({"x": X}, context_of(1), 0), r"not built for the images \['x'\]"),
    ],
)
def test_invalid_sites_and_inputs_raise(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()


def test_last_point_accepts_encoder_without_stages() -> None:
    sites = MapSites({"a": "x"}, {"a": [None, None, (2, 3)]}, d_context=D, whole=["vit"])
    assert Film(sites, at=(-1,)).channels == {"x": {2: 2}}


def test_missing_forward_raises() -> None:
    class Half(MapFusion):
        pass

    with pytest.raises(NotImplementedError, match=re.escape("a map fusion defines forward()")):
        Half(SITES)({}, None, 0)


@pytest.mark.parametrize("there", [None, [True, False, True], [False] * 3, [True] * 3])
def test_over_present_computes_present_rows_only(there: list[bool] | None) -> None:
    seen: list[Tensor] = []

    class Seen(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return super().forward(x)

    layer, x = Seen(2, 4), torch.randn(3, 2)
    row = torch.ones(3, dtype=torch.bool) if there is None else torch.tensor(there)
    made = over_present(layer, x, None if there is None else row, 4)
    assert [len(rows) for rows in seen] == ([int(row.sum())] if row.any() else [])
    assert made.shape == (3, 4)
    assert not bool(made[~row].any())
    torch.testing.assert_close(made[row], nn.functional.linear(x[row], layer.weight, layer.bias))
