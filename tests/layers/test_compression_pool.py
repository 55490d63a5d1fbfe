import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mmfusion.layers.compression import PoolCompression, TokenShape
from mmfusion.tokens import Tokens

POOLS: dict[int, Any] = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


def of_map(x: Tensor) -> Tensor:
    """Positions as tokens: ``(b, c, *grid)`` to ``(b, n, c)``."""
    return x.flatten(2).transpose(1, 2)


def pool(grid: tuple[int, ...], n_latents: int, dim: int = 2) -> PoolCompression:
    return PoolCompression(TokenShape.of_map((dim, *grid)), n_latents=n_latents)


def boxes(grid: tuple[int, ...], n_latents: int) -> list[list[tuple[int, int]]]:
    """First and last position of each cell along each axis, read off the gradients."""
    n = math.prod(grid)
    x = torch.zeros(1, n, 1, requires_grad=True)
    found = []
    for latent in pool(grid, n_latents, 1)(Tokens(x))[0, :, 0]:
        (grad,) = torch.autograd.grad(latent, x, retain_graph=True)
        inside = grad.view(grid).nonzero()
        box = [(int(i.min()), int(i.max())) for i in inside.unbind(1)]
        # All of the box, and each position as much.
        assert len(inside) == math.prod(last - first + 1 for first, last in box)
        torch.testing.assert_close(grad[grad != 0], torch.full((len(inside),), 1 / len(inside)))
        found.append(box)
    return found


def test_two_cells_of_a_row_of_five_by_hand() -> None:
    """Three positions each; the middle one is in both."""
    compress = PoolCompression(TokenShape(5, 1), n_latents=2)
    x = torch.tensor([[[1.0], [2], [6], [3], [0]]])
    assert compress(Tokens(x)).tolist() == [[[3], [3]]]
    mask = torch.tensor([[True, False, False, True, True]])
    assert compress(Tokens(x, mask)).tolist() == [[[1], [1.5]]]
    assert compress(Tokens(x, torch.tensor([[True, False, False, False, False]]))).tolist() == [[[1], [0]]]
    assert compress(Tokens(x, torch.zeros(1, 5, dtype=torch.bool))).tolist() == [[[0], [0]]]


def test_three_cells_of_a_square_by_hand() -> None:
    """The upper half, and the two quarters of the lower half."""
    x = torch.arange(16.0).view(1, 16, 1)
    assert pool((4, 4), 3, 1)(Tokens(x))[0, :, 0].tolist() == [3.5, 10.5, 12.5]


def test_almost_as_many_cells_as_positions() -> None:
    """Rows of 4, 5, 5, 5 and 5 cells."""
    x = torch.randn(1, 25, 1)
    found = pool((5, 5), 24, 1)(Tokens(x))
    torch.testing.assert_close(found[:, :4], (x[:, :4] + x[:, 1:5]) / 2)
    assert torch.equal(found[:, 4:], x[:, 5:])


@pytest.mark.parametrize(
    ("grid", "n_latents", "cells"),
    [
        ((8, 8), 32, (4, 8)),
        ((7, 7), 49, (7, 7)),
        ((56, 56), 24, (4, 6)),
        ((12, 6), 8, (4, 2)),
        ((6, 6, 6), 48, (4, 3, 4)),
        ((16, 16, 3), 48, (6, 8, 1)),
        ((12, 12, 1), 12, (3, 4, 1)),
        ((5, 3), 1, (1, 1)),
        ((2, 2), 32, (4, 8)),
        ((1, 1, 1), 3, (1, 1, 3)),
        ((7,), 3, (3,)),
    ],
)
@pytest.mark.parametrize("channels_last", [False, True])
def test_regular_grid_matches_adaptive_pooling(
    grid: tuple[int, ...], n_latents: int, cells: tuple[int, ...], channels_last: bool
) -> None:
    x = torch.randn(2, 3, *grid, dtype=torch.float64)
    expected = of_map(POOLS[len(grid)](x, cells))
    tokens = of_map(x).contiguous() if channels_last else of_map(x)
    torch.testing.assert_close(pool(grid, n_latents, 3)(Tokens(tokens)), expected)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 4))
def test_sequence_of_any_length_matches_adaptive_pooling(n: int, n_latents: int, built_for: int) -> None:
    x = torch.randn(2, n, 3, dtype=torch.float64)
    compress = PoolCompression(TokenShape(built_for, 3), n_latents=n_latents)
    expected = F.adaptive_avg_pool1d(x.mT, n_latents).mT
    torch.testing.assert_close(compress(Tokens(x)), expected)


@pytest.mark.slow
@given(st.lists(st.integers(1, 7), min_size=1, max_size=3), st.integers(1, 20))
def test_boxes_cover_every_position(grid: list[int], n_latents: int) -> None:
    found = boxes(tuple(grid), n_latents)
    assert len(found) == n_latents
    covered = {at for box in found for at in itertools.product(*(range(a, z + 1) for a, z in box))}
    assert len(covered) == math.prod(grid)
    if n_latents <= math.prod(grid):
        assert all(one < other for one, other in itertools.pairwise(found))  # row-major, and no two alike


@pytest.mark.slow
@pytest.mark.parametrize("grid", [(24, 24), (24, 12), (8, 8, 8)])
def test_cell_aspect_ratio_is_at_most_3(grid: tuple[int, ...]) -> None:
    """Also where no regular grid has that many cells, as for a prime number."""
    for n_latents in range(2, 40):
        for box in boxes(grid, n_latents):
            sides = [last - first + 1 for first, last in box]
            assert max(sides) <= 3 * min(sides), (n_latents, box)


@given(st.integers(0, 10**6))
def test_masked_mean_matches_loop(seed: int) -> None:
    """A loop over cells and positions; zeros where a cell has none."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 24, 3, generator=g, dtype=torch.float64)
    mask = torch.rand(2, 24, generator=g) < 0.3
    found = pool((4, 6), 6, 3)(Tokens(x, mask))
    for case, row, column in itertools.product(range(2), range(2), range(3)):
        cell = [6 * i + j for i in (2 * row, 2 * row + 1) for j in (2 * column, 2 * column + 1)]
        real = [x[case, t] for t in cell if mask[case, t]]
        expected = sum(real) / len(real) if real else torch.zeros(3, dtype=torch.float64)
        torch.testing.assert_close(found[case, 3 * row + column], expected, rtol=1e-12, atol=1e-12)


def test_half_precision_is_averaged_in_float32() -> None:
    """In float16 the sum of 100,000 ones would be infinite, and the share of a single one nearly zero."""
    x = torch.full((1, 100_000, 1), 3.0, dtype=torch.float16)
    mask = torch.zeros(1, 100_000, dtype=torch.bool)
    mask[0, 7] = True
    compress = PoolCompression(TokenShape(100_000, 1), n_latents=1)
    for tokens in (Tokens(x), Tokens(x, mask)):
        assert compress(tokens).tolist() == [[[3.0]]]
        assert compress(tokens).dtype == torch.float16
    with torch.autocast("cpu", torch.bfloat16):
        assert compress(Tokens(torch.full((1, 1000, 1), 1.001))).item() == pytest.approx(1.001, rel=1e-6)


def test_invalid_options_and_inputs_raise() -> None:
    with pytest.raises(ValueError, match="n_latents expects int from 1 to 4096, got 0"):
        pool((4, 6), 0)
    with pytest.raises(ValueError, match="built for 24 tokens, got 23: the image size or the number of columns"):
        pool((4, 6), 2)(Tokens(torch.ones(1, 23, 2)))
