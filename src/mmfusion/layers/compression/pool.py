"""Compression by averages: over the cells of a map, or over stretches of a sequence."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmfusion.layers.compression.base import check_n_tokens
from mmfusion.options import Count
from mmfusion.registry import compressions
from mmfusion.tokens import Tokens, TokenShape
from mmfusion.utils.precision import full_precision, without_autocast


@compressions.register("pool")
class PoolCompression(nn.Module):
    """The means of ``n_latents`` cells that cover a map, in row-major order; of stretches where there is no map.

    The first axis is cut into slabs, each slab along the second axis, and so on, always by adaptive pooling: piece i of
    k along n positions is ``floor(i n / k)`` to ``ceil((i + 1) n / k)``. How many slabs is chosen so that the cells are
    about as long as they are wide, and that they form a regular grid where a fair one has exactly ``n_latents`` cells:
    32 latents of a square map are 4 rows of 8, 48 of a cube are 4 by 3 by 4. Otherwise some slabs have one cell more
    than others: 14 latents of a square map are rows of 3, 3, 4 and 4. With more latents than tokens, tokens repeat;
    otherwise no two cells are the same.

    There is nothing to learn. Half precision is averaged in float32.

    Args:
        shape: The tokens. Without a grid the sequence is pooled, of whatever length it comes.
        n_latents: Number of tokens that go out.

    Raises:
        ValueError: If ``n_latents`` is not positive.
    """

    def __init__(self, shape: TokenShape, *, n_latents: Count) -> None:
        super().__init__()
        self.grid = shape.grid
        self.n_latents = n_latents
        self._cut = _cut(shape.grid or (shape.n_tokens,), n_latents)

    def forward(self, tokens: Tokens) -> Tensor:
        """Compress.

        Args:
            tokens: As many tokens as the grid has positions, of any width; a masked one does not count.

        Returns:
            Shape ``(b, n_latents, d)``; zeros for a cell without a real token.

        Raises:
            ValueError: If the number of tokens is another than the grid's.
        """
        b, n, d = tokens.x.shape
        grid = (n,) if self.grid is None else self.grid
        check_n_tokens(n, math.prod(grid))
        with without_autocast(tokens.x):
            x = full_precision(tokens.filled())
            if x.stride(2) == 1:
                means = _pooled(x.reshape(b, *grid, d), self._cut)
            else:  # the map is stored channel by channel: no need to turn it around
                means = _pooled(x.transpose(1, 2).reshape(b * d, *grid, 1), self._cut).view(b, d, -1).transpose(1, 2)
            if tokens.mask is not None:
                # Of a cell, the sum of the real over the number of all, and the real over all.
                share = _pooled(tokens.mask.to(x.dtype).reshape(b, *grid, 1), self._cut)
                real = share > 0
                means = torch.where(real, means / torch.where(real, share, 1.0), 0.0)
        return means.to(tokens.x.dtype)


class _Cut(NamedTuple):
    """How a block of positions falls into cells.

    Attributes:
        n_slabs: Pieces along the first axis.
        runs: Numbers of slabs, one after another, that are cut alike along the other axes, and how. None: there is no
            other axis, and a slab is a cell.
    """

    n_slabs: int
    runs: "tuple[tuple[int, _Cut], ...]" = ()


def _cut(grid: Sequence[int], n_cells: int) -> _Cut:
    """Into exactly ``n_cells`` cells that are about as long as they are wide."""
    if len(grid) == 1:
        return _Cut(n_cells)
    wanted = grid[0] / _edge(grid, n_cells)

    def cost(n_slabs: int) -> float:
        """How far from what is wanted, as a ratio; slabs of different numbers of cells count as if further away."""
        # Rounded: of two that are equally far, on every machine the smaller.
        return round(abs(math.log(n_slabs / wanted)) + (math.log(2) / 2 if n_cells % n_slabs else 0.0), 6)

    # As long as there are positions enough, no more slabs, and no more cells in one, than it has: no two cells alike.
    in_a_slab = math.prod(grid[1:])
    enough = n_cells <= grid[0] * in_a_slab
    candidates = range(-(-n_cells // in_a_slab), grid[0] + 1) if enough else range(1, n_cells + 1)
    n_slabs = min(candidates, key=cost)
    fewer, extra = divmod(n_cells, n_slabs)
    runs = ((n_slabs - extra, fewer), (extra, fewer + 1))
    return _Cut(n_slabs, tuple((n, _cut(grid[1:], cells)) for n, cells in runs if n))


def _edge(grid: Sequence[int], n_cells: int) -> float:
    """Edge of a cell if all are cubes. An axis that is thinner than that is not cut: the others are then."""
    thinnest, *others = sorted(grid)
    edge: float = (math.prod(grid) / n_cells) ** (1 / len(grid))
    return _edge(others, n_cells) if others and thinnest < edge else edge


def _pooled(x: Tensor, cut: _Cut) -> Tensor:
    """From ``(m, *grid, d)`` to the means of the cells, ``(m, n_cells, d)``."""
    m, n, *others, d = x.shape
    to_means = averages(n, cut.n_slabs, x)
    if not others and d == 1:
        return (x.squeeze(2) @ to_means.T).unsqueeze(2)
    slabs = torch.bmm(to_means.expand(m, -1, -1), x.flatten(2))
    if not others:
        return slabs
    cells, first = [], 0
    for n_alike, rest in cut.runs:
        alike = slabs[:, first : first + n_alike].reshape(m * n_alike, *others, d)
        cells.append(_pooled(alike, rest).view(m, -1, d))
        first += n_alike
    return torch.cat(cells, 1)


def averages(n: int, k: int, like: Tensor) -> Tensor:
    """What takes n positions to the means of k pieces, ``(k, n)``: adaptive pooling as a matrix.

    The kernels of adaptive pooling have no deterministic gradient on a GPU.
    """
    piece = torch.arange(k, device=like.device).unsqueeze(1)
    position = torch.arange(n, device=like.device)
    inside = ((position >= piece * n // k) & (position < ((piece + 1) * n + k - 1) // k)).to(like.dtype)
    return inside / inside.sum(1, keepdim=True)
