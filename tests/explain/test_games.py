from itertools import combinations, permutations
from math import factorial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from mmfusion.explain.games import along, coalitions, interactions, orders, sampled_values, shapley_values

games = st.integers(0, 4).flatmap(lambda n: st.lists(st.floats(-5, 5), min_size=2**n, max_size=2**n))


def value(game: Tensor, *players: int) -> Tensor:
    return game[sum(1 << player for player in players)]


def reference_shapley(game: Tensor, n: int) -> Tensor:
    """The mean over all orders of what each player adds."""
    total = torch.zeros(n, dtype=torch.float64)
    for order in permutations(range(n)):
        for step, player in enumerate(order):
            total[player] += value(game, *order[: step + 1]) - value(game, *order[:step])
    return total / factorial(n)


def reference_interaction(game: Tensor, n: int, i: int, j: int) -> Tensor:
    others = [player for player in range(n) if player not in (i, j)]
    total = torch.zeros((), dtype=torch.float64)
    for size in range(len(others) + 1):
        for rest in combinations(others, size):
            joint = value(game, *rest, i, j) - value(game, *rest, i) - value(game, *rest, j) + value(game, *rest)
            total += factorial(size) * factorial(n - size - 2) / factorial(n - 1) * joint
    return total


@settings(max_examples=30, deadline=None)
@given(games)
def test_shapley_values_match_reference_and_add_up(numbers: list[float]) -> None:
    game = torch.tensor(numbers, dtype=torch.float64)
    n = len(numbers).bit_length() - 1
    values = shapley_values(game)
    assert_close(values, reference_shapley(game, n))
    assert_close(values.sum(), game[-1] - game[0])
    for i in range(n):
        for j in range(i):
            assert_close(interactions(game)[i, j], reference_interaction(game, n, i, j))


def test_interactions_of_sum_and_product_by_hand() -> None:
    members = coalitions(3).double()
    of_sum = members @ torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    assert torch.equal(shapley_values(of_sum), torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64))
    assert not interactions(of_sum).any()
    assert interactions(members[:, 0] * members[:, 2])[0].tolist() == [0, 0, 1]


def test_value_below_rounding_is_zero() -> None:
    game = coalitions(2).double() @ torch.tensor([1.0, 1e-9], dtype=torch.float64)
    assert shapley_values(game, rounding=1e-8).tolist() == [1, 0]
    assert shapley_values(game)[1] > 0


def test_sampling_can_skip_first_step() -> None:
    game = torch.tensor([9.0, 1.0, 1.0, 2.0], dtype=torch.float64)
    values = shapley_values(game, first_counts=False)
    assert values.tolist() == [0.5, 0.5]
    order = torch.tensor([[0, 1], [1, 0]])
    tried = torch.tensor([[9.0, 1.0, 2.0], [9.0, 1.0, 2.0]])
    assert sampled_values(tried, order, first_counts=False).values.tolist() == [0.5, 0.5]


def test_sampled_values_add_up_within_error() -> None:
    generator = torch.Generator().manual_seed(0)
    game = torch.rand(2**5, generator=generator, dtype=torch.float64)
    order = orders(5, 400, generator)
    joined = along(order)
    assert not joined[:, 0].any()
    assert joined[:, -1].all()
    tried = game[(joined.long() << torch.arange(5)).sum(-1)]
    estimate = sampled_values(tried, order)
    assert_close(estimate.values.sum(), game[-1] - game[0])
    off = (estimate.values - shapley_values(game)) / estimate.errors
    assert off.abs().max() < 3.5
    assert off.abs().max() > 0.01


def test_wrong_number_of_coalitions_raises() -> None:
    with pytest.raises(ValueError, match=r"2\*\*n"):
        shapley_values(torch.zeros(3))
