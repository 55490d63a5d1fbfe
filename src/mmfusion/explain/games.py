"""Shapley values and interactions of cooperative games, exact and from sampled orders.

A game of n players is a tensor of values ``(..., 2**n)`` in float64: entry ``c`` is the value of the coalition whose
members are the bits of ``c``. The formulas are sums over coalitions S without the players in question:

- Shapley value of i: ``sum |S|! (n - |S| - 1)! / n! (v(S + i) - v(S))``; all of them add up to ``v(all) - v(none)``;
- interaction index of i and j (Grabisch and Roubens, 1999):
  ``sum |S|! (n - |S| - 2)! / (n - 1)! (v(S + i + j) - v(S + i) - v(S + j) + v(S))``.
"""

from math import comb
from typing import NamedTuple

import torch
from torch import Tensor


class Estimate(NamedTuple):
    """Values and how far they may be off.

    Attributes:
        values: Shape ``(n,)``, float64.
        errors: Standard errors, likewise; zeros where values are exact.
    """

    values: Tensor
    errors: Tensor


def coalitions(n: int) -> Tensor:
    """The members of each coalition of n players, shape ``(2**n, n)`` bool."""
    return (torch.arange(2**n).unsqueeze(1) >> torch.arange(n)) & 1 == 1


def shapley_weights(n: int) -> Tensor:
    """Probability of each coalition of the n other players when a player joins, shape ``(2**n,)``; they sum to 1."""
    by_size = torch.tensor([1 / ((n + 1) * comb(n, k)) for k in range(n + 1)], dtype=torch.float64)
    return by_size[coalitions(n).sum(1)]


def shapley_values(game: Tensor, *, first_counts: bool = True, rounding: float = 0.0) -> Tensor:
    """Shapley values.

    Args:
        game: Shape ``(..., 2**n)``.
        first_counts: False: what a player adds to the empty coalition is nobody's, and ``v(none)`` in the sum becomes
            the mean value of the coalitions of one.
        rounding: A player that never adds more than this gets exactly 0.

    Returns:
        Shape ``(..., n)``.
    """
    n = _players(game)
    if not n:
        return game[..., :0].double()
    weights = shapley_weights(n - 1).to(game.device)
    weights[0] *= first_counts
    split = [_without(game.double(), n, i) for i in range(n)]
    added = torch.stack([joined - left for left, joined in split], -2)
    counted = (added * (weights > 0)).abs().amax(-1, keepdim=True) > rounding
    return (added * counted * weights).sum(-1)


def interactions(game: Tensor) -> Tensor:
    """Shapley interaction index of each pair of players.

    Args:
        game: Shape ``(..., 2**n)``.

    Returns:
        Shape ``(..., n, n)``, symmetric; zeros on the diagonal.
    """
    n = _players(game)
    index = game.new_zeros((*game.shape[:-1], n, n), dtype=torch.float64)
    for j in range(n):
        for i in range(j):
            left, joined = _without(game.double(), n, j)
            (neither, first), (second, both) = _without(left, n - 1, i), _without(joined, n - 1, i)
            weights = shapley_weights(n - 2).to(game.device)
            index[..., i, j] = index[..., j, i] = ((both - first - second + neither) * weights).sum(-1)
    return index


def orders(n: int, n_orders: int, generator: torch.Generator) -> Tensor:
    """Random orders of n players, shape ``(n_orders, n)``."""
    return torch.rand((n_orders, n), generator=generator).argsort(1)


def along(order: Tensor) -> Tensor:
    """The coalitions that players form as they join, shape ``(n_orders, n + 1, n)`` bool, from none to all."""
    n_orders, n = order.shape
    joined = torch.zeros((n_orders, n + 1, n), dtype=torch.bool)
    for step in range(n):
        joined[:, step + 1] = joined[:, step]
        joined[torch.arange(n_orders), step + 1, order[:, step]] = True
    return joined


def sampled_values(values: Tensor, order: Tensor, *, first_counts: bool = True, rounding: float = 0.0) -> Estimate:
    """What each player adds when it joins, the mean over the orders; these add up as exact values do.

    Args:
        values: Of the coalitions of :func:`along`, shape ``(n_orders, n + 1)``; at least two orders.
        order: Shape ``(n_orders, n)``.
        first_counts: As of :func:`shapley_values`.
        rounding: As there.
    """
    steps = values.double().diff(dim=1)
    steps[:, :1] *= first_counts
    added = torch.zeros_like(steps).scatter(1, order, steps)
    added *= added.abs().amax(0) > rounding
    return Estimate(added.mean(0), added.std(0) / len(order) ** 0.5)


def _players(game: Tensor) -> int:
    n = game.shape[-1].bit_length() - 1
    if game.shape[-1] != 2**n:
        raise ValueError(f"a game of n players has 2**n values, got {game.shape[-1]}")
    return n


def _without(game: Tensor, n: int, i: int) -> tuple[Tensor, Tensor]:
    """The values of the coalitions without and with player i, both in the order of the others' bits."""
    split = game.reshape(*game.shape[:-1], 2 ** (n - 1 - i), 2, 2**i)
    return split[..., 0, :].flatten(-2), split[..., 1, :].flatten(-2)
