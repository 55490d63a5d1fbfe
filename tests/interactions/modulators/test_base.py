"""What holds for every modulator, and what the base refuses."""

import re
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mmfusion import registry
from mmfusion.interactions.modulators import Film, Modulator, Mul
from mmfusion.interactions.modulators.base import of_those_there
from mmfusion.tokens import Tokens
from modulator_cases import CHANNELS, CONDITIONED, EVERY, bound, context_of, maps_of

ROUTES = {"a": "skin", "b": "skin", "c": "deep"}
every = pytest.mark.parametrize("name", EVERY)
conditioned = pytest.mark.parametrize("name", CONDITIONED)


def test_each_registered_one_is_tested_here() -> None:
    assert {name.partition(",")[0] for name in EVERY} == set(registry.modulators.list())
    for name in registry.modulators.list():
        assert isinstance(registry.modulators.create(name, ROUTES), Modulator)


@every
@pytest.mark.parametrize("n_axes", [2, 3])
def test_shapes_stay(name: str, n_axes: int) -> None:
    block = bound(EVERY[name], ROUTES, n_axes=n_axes)
    for point in CHANNELS:
        maps = maps_of(point, ROUTES, n_axes=n_axes)
        made = block(maps, context_of(), point)
        assert {key: (x.shape, x.dtype) for key, x in made.items()} == {
            key: (x.shape, torch.float64) for key, x in maps.items()
        }
        assert not any(torch.equal(made[key], maps[key]) for key in maps)


@conditioned
@given(st.lists(st.booleans(), min_size=1, max_size=5), st.sampled_from([float("nan"), float("inf"), 3.0]))
def test_a_case_without_a_table_keeps_its_map(name: str, there: list[bool], content: float) -> None:
    """Bit for bit, whatever stands in the table; the others come out as without it."""
    block, row = bound(EVERY[name], ROUTES), torch.tensor(there)
    maps, context = maps_of(1, ROUTES, b=len(there)), context_of(len(there))
    spoilt = Tokens(torch.where(row.view(-1, 1, 1), context.x, content), row.view(-1, 1))
    made, whole = block(maps, spoilt, 1), block(maps, context, 1)
    for key, x in maps.items():
        assert torch.equal(made[key][~row], x[~row])
        torch.testing.assert_close(made[key][row], whole[key][row])
    assert all(torch.equal(x, maps[key]) for key, x in block(maps, None, 1).items())


@every
@given(st.permutations(range(4)))
def test_cases_do_not_see_each_other(name: str, order: list[int]) -> None:
    block = bound(EVERY[name], ROUTES)
    maps, context = maps_of(2, ROUTES, b=4), context_of(4)
    whole = block(maps, context, 2)
    moved = block({key: x[order] for key, x in maps.items()}, Tokens(context.x[order]), 2)
    for key, x in whole.items():
        torch.testing.assert_close(moved[key], x[order])


@conditioned
def test_images_on_one_route_share_weights(name: str) -> None:
    block, context = bound(EVERY[name], ROUTES), context_of()
    x = maps_of(1, ["a"])["a"]
    made = block(dict.fromkeys(ROUTES, x), context, 1)
    assert torch.equal(made["a"], made["b"])
    assert not torch.equal(made["a"], made["c"])
    assert torch.equal(block({"b": x}, context, 1)["b"], made["b"])


@every
def test_state_dict_round_trip_and_gradients(name: str) -> None:
    one, other = bound(EVERY[name], ROUTES), bound(EVERY[name], ROUTES)
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
def test_points(at: tuple[int, ...] | None, n_stages: int, points: set[int] | None) -> None:
    block = Mul(ROUTES, at=at)
    if points is None:
        with pytest.raises(ValueError, match=r"Mul is to act at \[(5|-6)\]; 4 stages have the points 0, .* -5 to -1"):
            block.points(n_stages)
    else:
        assert block.points(n_stages) == points


X = torch.zeros(1, 2, 2, 2)
MAPS = {0: dict.fromkeys(ROUTES, X)}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Film({}), "needs an image and a point to act at"),
        (lambda: Film(ROUTES, at=()), "needs an image and a point to act at"),
        (lambda: Film(ROUTES).bind(MAPS, None), "Film is conditioned on a table"),
        (lambda: Film(ROUTES).bind(MAPS, context_of(1, 0)), "Film is conditioned on a table"),
        (
            lambda: Film(ROUTES).bind({0: MAPS[0] | {"b": X[:, :1]}}, context_of()),
            "images on the route 'skin' have maps of different channels",
        ),
        (
            lambda: Film(ROUTES).bind({0: {"a": X}}, context_of()),
            r"is for the images \['a', 'b', 'c'\], got \['a'\]",
        ),
        (lambda: Film(ROUTES)({"a": X}, context_of(1), 0), r"not bound to the images \['a'\] before stage 0"),
        (lambda: bound(EVERY["film"], ROUTES)({"a": X}, context_of(1), 7), r"not bound to the images \['a'\] before"),
        (lambda: bound(EVERY["film"], ROUTES)({"x": X}, context_of(1), 0), r"not bound to the images \['x'\]"),
        (lambda: bound(EVERY["film"], ROUTES).bind(MAPS, context_of()), "this modulator is bound to channels"),
    ],
)
def test_refuses(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()


def test_binding_twice_keeps_the_weights() -> None:
    block = bound(EVERY["film"], ROUTES)
    before = {key: value.clone() for key, value in block.state_dict().items()}
    block.bind({p: maps_of(p, ROUTES) for p in CHANNELS}, context_of())
    assert all(torch.equal(value, before[key]) for key, value in block.state_dict().items())


def test_abstract() -> None:
    class Half(Modulator):
        pass

    for call in (lambda: Half(ROUTES).build({}, 0), lambda: Half(ROUTES)({}, None, 0)):
        with pytest.raises(NotImplementedError, match=re.escape("a modulator defines")):
            call()


@pytest.mark.parametrize("there", [None, [True, False, True], [False] * 3, [True] * 3])
def test_of_those_there(there: list[bool] | None) -> None:
    seen: list[Tensor] = []

    class Seen(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return super().forward(x)

    layer, x = Seen(2, 4), torch.randn(3, 2)
    row = torch.ones(3, dtype=torch.bool) if there is None else torch.tensor(there)
    made = of_those_there(layer, x, None if there is None else row, 4)
    assert [len(rows) for rows in seen] == ([int(row.sum())] if row.any() else [])
    assert made.shape == (3, 4)
    assert not bool(made[~row].any())
    torch.testing.assert_close(made[row], nn.functional.linear(x[row], layer.weight, layer.bias))
