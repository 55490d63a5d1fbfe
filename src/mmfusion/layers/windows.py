"""Attention within the windows of a map, of its own positions and those of other maps."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from mmfusion.layers.attention import FeedForward


class Windows(nn.Module):
    """How the positions of a grid fall into windows of equal size.

    The grid is filled up to a multiple of the window, and where ``shift`` says so moved by half a window, around its
    edges: what meets there from opposite edges does not see each other (Swin, Liu et al., 2021, arXiv 2103.14030,
    section 3.2). An axis that fits into a single window is not moved.

    Args:
        grid: Positions along each axis.
        window: Positions of a window along each axis, at most; a shorter axis has shorter windows.
        shift: Move the windows by half of their size.

    Attributes:
        grid: Positions along each axis.
        n_positions: Of a window (t).
        position: Which position of the grid, row-major, stands where in which window, ``(w, t)`` int64; what was filled
            up has the number of positions of the grid.
        place: Where each position of the grid is among all windows' positions, ``(n,)`` int64.
        region: What sees each other within a window has the same number, ``(w, t)`` int64; -1 was filled up.
        offset: For each pair of positions of a window, which of all ways from one to the other, ``(t, t)`` int64.
    """

    def __init__(self, grid: Sequence[int], *, window: int, shift: bool = False) -> None:
        super().__init__()
        if window < 1 or min(grid) < 1:
            raise ValueError(f"grid and window must be positive, got {tuple(grid)} and {window}")
        sizes = [min(window, n) for n in grid]
        counts = [-(-n // size) for n, size in zip(grid, sizes, strict=True)]
        moves = [size // 2 if shift and count > 1 else 0 for size, count in zip(sizes, counts, strict=True)]
        n = math.prod(grid)
        filled = [count * size for count, size in zip(counts, sizes, strict=True)]
        index = torch.full(filled, n)
        index[tuple(slice(length) for length in grid)] = torch.arange(n).view(*grid)
        # Which axes a position is moved around, each a bit of a number.
        coordinates = torch.meshgrid(*map(torch.arange, filled), indexing="ij")
        around = sum((c < move).long() << axis for axis, (c, move) in enumerate(zip(coordinates, moves, strict=True)))
        position, region = _windows(index, sizes, moves), _windows(torch.as_tensor(around), sizes, moves)
        inside = torch.cartesian_prod(*map(torch.arange, sizes)).view(-1, len(grid))
        offset = torch.zeros(len(inside), len(inside), dtype=torch.int64)
        for axis, size in enumerate(sizes):
            offset = offset * (2 * size - 1) + inside[:, None, axis] - inside[None, :, axis] + size - 1
        self.grid = tuple(grid)
        self.n_positions = len(inside)
        self.n_offsets = math.prod(2 * size - 1 for size in sizes)
        # In the state dict: a model built on the meta device gets them from there.
        self.position = nn.Buffer(position)
        self.place = nn.Buffer(position.flatten().argsort()[:n])
        self.region = nn.Buffer(torch.where(position == n, -1, region))
        self.offset = nn.Buffer(offset)

    def cut(self, x: Tensor) -> Tensor:
        """From ``(b, n, d)`` to ``(b, w, t, d)``; zeros where the grid was filled up."""
        filled = torch.cat([x, x.new_zeros(x.shape[0], 1, x.shape[2])], 1)
        return filled[:, self.position]

    def join(self, windows: Tensor) -> Tensor:
        """The inverse of :meth:`cut`."""
        return windows.flatten(1, 2)[:, self.place]

    def whole(self, pairs: Tensor) -> Tensor:
        """From pairs of positions within windows to pairs of the grid's, zeros where they share no window.

        Args:
            pairs: Shape ``(..., w, t, t)``; what was filled up is left out.

        Returns:
            Shape ``(..., n, n)``.
        """
        n = len(self.place)
        every = pairs.new_zeros(*pairs.shape[:-3], n + 1, n + 1)
        every[..., self.position.unsqueeze(2), self.position.unsqueeze(1)] = pairs
        return every[..., :n, :n]

    def visible(self) -> Tensor:
        """Which position sees which within each window, ``(w, t, t)`` bool; nothing sees what was filled up."""
        region = self.region
        return (region.unsqueeze(2) == region.unsqueeze(1)) & (region >= 0).unsqueeze(1)


class WindowCrossBlock(nn.Module):
    """Within each window a map's positions attend to each other and to those of other maps, then go through a
    feed-forward network, each behind a normalization and beside a shortcut.

    ``x + attention(LN(x), [LN(x); LN(y)])`` with a learned bias for each way from one position to another and each
    head, the same for all maps (TFormer, Zhang et al., 2023, arXiv 2211.11393, the hierarchical multi-modal
    transformer).

    Args:
        windows: Of the maps, which have one grid.
        dim: Width of the tokens.
        n_heads: Heads of the attention; divides ``dim``.
        expansion: Hidden width of the feed-forward over ``dim``.
        dropout: Probability in the feed-forward.

    Raises:
        ValueError: If ``n_heads`` does not divide ``dim``.
    """

    def __init__(
        self, windows: Windows, *, dim: int, n_heads: int = 4, expansion: float = 1.0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if n_heads < 1 or dim % n_heads:
            raise ValueError(f"n_heads must divide dim, got {dim=} and {n_heads=}")
        self.windows = windows
        self.n_heads = n_heads
        self.norm1 = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.bias = nn.Parameter(torch.empty(windows.n_offsets, n_heads))
        nn.init.trunc_normal_(self.bias, std=0.02)
        self.out = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.feed_forward = FeedForward(dim, expansion=expansion, dropout=dropout)

    def forward(self, x: Tensor, others: Sequence[Tensor], present: Sequence[Tensor | None]) -> Tensor:
        """The map's tokens, changed.

        Args:
            x: Shape ``(b, n, dim)``, in row-major order.
            others: The other maps', of the same shape.
            present: Which cases have this map and each of the others, ``(b,)`` bool; None: all.

        Returns:
            Shape ``(b, n, dim)``.
        """
        query_x = self.windows.cut(self.norm1(x))
        context = torch.cat([query_x, *(self.windows.cut(self.norm1(other)) for other in others)], 2)
        visible = self.windows.visible()[None, :, None]  # (1, w, 1, t, t)
        seen = torch.cat(
            [visible if has is None else visible & has.view(-1, 1, 1, 1, 1) for has in _alike(present)], -1
        )
        anything = seen.any(-1, keepdim=True)
        bias = repeat(self.bias[self.windows.offset], "t seen h -> h t (maps seen)", maps=len(present))
        # Windows beside heads: attention of four axes is what fast kernels and ONNX have.
        q, k, v = (
            rearrange(x_, "b w t (h d) -> b (w h) t d", h=self.n_heads)
            for x_ in (self.query(query_x), self.key(context), self.value(context))
        )
        # A row without a single key would be a softmax over nothing: it sees everything, and its result is replaced.
        scores = torch.where(seen | ~anything, bias, -torch.inf).flatten(1, 2).to(q.dtype)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=scores)
        attended = rearrange(attended, "b (w h) t d -> b w t (h d)", h=self.n_heads)
        x = x + self.out(self.windows.join(torch.where(anything.squeeze(2), attended, 0.0)))
        out: Tensor = x + self.feed_forward(self.norm2(x))
        return out


def _windows(x: Tensor, sizes: Sequence[int], moves: Sequence[int]) -> Tensor:
    """A filled grid, moved, cut into windows: ``(w, t)``."""
    axes = range(x.ndim)
    windows, inside = (" ".join(f"{letter}{axis}" for axis in axes) for letter in "wt")
    pattern = f"{' '.join(f'(w{axis} t{axis})' for axis in axes)} -> ({windows}) ({inside})"
    moved = x.roll([-move for move in moves], list(axes))
    return rearrange(moved, pattern, **{f"t{axis}": size for axis, size in enumerate(sizes)})


def _alike(present: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Presence of all maps or of none, so that masks have one shape."""
    known = [has for has in present if has is not None]
    if not known:
        return list(present)
    return [torch.ones_like(known[0]) if has is None else has for has in present]
