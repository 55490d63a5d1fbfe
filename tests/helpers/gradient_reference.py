"""One-sided derivatives in float64: what a gradient is held to where a function has a kink, and everywhere else."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

STEP = 1e-5
ROWS = ("dense", "sparse", "one_hot", "relu", "constant", "tied", "scaled", "zero")
"""Shapes of a vector. ``tied`` repeats the one before, ``scaled`` is a multiple of it."""


def rows(kinds: Sequence[str], dim: int, seed: int) -> Tensor:
    """One vector for each of :data:`ROWS`' names, ``(n, dim)`` in float64 with values that float32 holds too."""
    g = torch.Generator().manual_seed(seed)
    found: list[Tensor] = []
    for kind in kinds:
        # Away from zero but for the zeros that are meant: a derivative of a direction is as large as a vector is short.
        x = torch.randn(dim, generator=g).sign() * (0.5 + torch.rand(dim, generator=g))
        if kind == "sparse":
            x = x * (torch.rand(dim, generator=g) < 0.5)
        if kind == "one_hot":
            x = x * (torch.arange(dim) == torch.randint(0, dim, (), generator=g))
        if kind == "relu":
            x = x.relu()
        if kind == "constant":
            x = x[:1].expand(dim)
        if kind in ("tied", "scaled") and found:
            x = found[-1] * (1 if kind == "tied" else 4)
        if kind == "zero":
            x = torch.zeros(dim)
        found.append(x)
    return torch.stack(found).double()


class Sides(NamedTuple):
    """Derivatives along the coordinates, each of the shape of ``x``.

    Attributes:
        left: From below; NaN where it was not looked at.
        right: From above.
        jump: True where the function is not continuous along a coordinate, bool; it has no derivative there.
    """

    left: Tensor
    right: Tensor
    jump: Tensor


def one_sided(
    function: Callable[[Tensor], Tensor], x: Tensor, *, step: float = STEP, n_places: int | None = None, seed: int = 0
) -> Sides:
    """Derivatives of a scalar function from three points on each side: exact to the second order in the step.

    Args:
        function: From a tensor to a scalar.
        x: In float64.
        step: Between two points.
        n_places: Coordinates to look at, drawn by the seed; None: all. The others are NaN.
        seed: Of the draw.
    """
    x = x.detach()
    middle = function(x).item()
    left, right, jump = x * torch.nan, x * torch.nan, torch.zeros_like(x, dtype=torch.bool)
    places = torch.randperm(x.numel(), generator=torch.Generator().manual_seed(seed))[:n_places]
    for place in places.tolist():

        def at(distance: float, place: int = place) -> float:
            moved = x.clone()
            moved.view(-1)[place] += distance
            return function(moved).item()

        for side, found in ((1, right), (-1, left)):
            near, far = at(side * step), at(side * 2 * step)
            found.view(-1)[place] = side * (4 * near - far - 3 * middle) / (2 * step)
            # A continuous function goes on as it began; one that jumps has its jump in the first step alone.
            first, second = abs(near - middle), abs(far - near)
            jump.view(-1)[place] |= first > 10 * second + 1e-4 * step
    return Sides(left, right, jump)


def assert_between(grad: Tensor, sides: Sides, *, tolerance: float = 1e-4, skip: Tensor | None = None) -> None:
    """The derivative where there is one; between those of the two sides at a kink; finite where there is a jump."""
    assert bool(grad.isfinite().all())
    low, high = torch.minimum(sides.left, sides.right), torch.maximum(sides.left, sides.right)
    slack = tolerance * (1 + torch.maximum(low.abs(), high.abs()))
    wrong = (grad < low - slack) | (grad > high + slack)
    wrong &= ~sides.jump
    if skip is not None:
        wrong &= ~skip
    worst = math.nan if not bool(wrong.any()) else (grad - (low + high) / 2)[wrong].abs().max().item()
    assert not bool(wrong.any()), f"off by up to {worst:.3g}: {grad[wrong]} for {low[wrong]} to {high[wrong]}"
