"""Compression by attention: learned queries that look for what they need."""

import math
from typing import Annotated, cast

import torch
from torch import Tensor, nn

from mmfusion.layers.attention import TransformerBlock
from mmfusion.layers.compression.base import check_n_tokens
from mmfusion.options import Count, Depth, Dropout, Expansion, Heads, Range, Width
from mmfusion.registry import compressions
from mmfusion.tokens import Tokens, TokenShape, join
from mmfusion.utils.precision import full_precision


class GridPosition(nn.Module):
    """A vector for each position of a grid of any size: a linear map of Fourier features of its coordinates.

    Along each axis the coordinate c of a cell's centre lies between -1 and 1, and its features are c itself,
    ``sin(pi k c)`` and ``cos(pi k c)`` for k = 1 to ``n_bands`` (Perceiver, Jaegle et al., 2021, arXiv 2103.03206,
    section 3.2). There they are concatenated with the tokens ahead of a linear map, which is the same as to add a
    linear map of theirs. As each feature belongs to one axis, a vector an axis is made, and these are added up.

    NOTE[DIFF] The bands do not follow the size of the map: parameters learned at one image size mean the same at
    another.

    Args:
        dim: Width of the vectors.
        n_axes: Axes of the grid.
        n_bands: Frequencies along each axis; the highest tells ``2 * n_bands`` cells apart.
    """

    def __init__(self, dim: int, *, n_axes: int, n_bands: int = 8) -> None:
        super().__init__()
        n_features = 1 + 2 * n_bands
        self.n_bands = n_bands
        self.weight = nn.Parameter(torch.empty(n_axes, n_features, dim))
        bound = 1 / math.sqrt(n_axes * n_features)  # as nn.Linear from all features
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, grid: tuple[int, ...]) -> Tensor:
        """The vectors of all positions.

        Args:
            grid: Positions along each axis.

        Returns:
            Shape ``(n, dim)``, in row-major order.
        """
        like = full_precision(self.weight)
        bands = torch.arange(1, self.n_bands + 1, dtype=like.dtype, device=like.device) * math.pi
        total = self.weight.new_zeros(())
        for axis, n in enumerate(grid):
            c = ((2 * torch.arange(n, dtype=like.dtype, device=like.device) + 1) / n - 1).unsqueeze(1)
            features = torch.cat([c, torch.sin(c * bands), torch.cos(c * bands)], 1)
            vectors = features.to(self.weight.dtype) @ self.weight[axis]
            total = total + vectors.view(n, *(1,) * (len(grid) - 1 - axis), -1)
        return total.flatten(0, -2)


@compressions.register("resampler")
class Resampler(nn.Module):
    """Learned latents that attend to the tokens: the Perceiver Resampler.

    ``latents = latents + attention(latents, [tokens; latents])``, then a feed-forward network beside a shortcut, as
    often as ``depth`` says (Flamingo, Alayrac et al., 2022, arXiv 2204.14198, section 3.1 and appendix A.1.1; the idea
    is Perceiver's, arXiv 2103.03206). Tokens are normalized first, so are the latents ahead of each layer and at the
    end. No parameter depends on the number of tokens.

    Attention does not see where a token stands. The tokens of a map get a vector of their position added, see
    :class:`GridPosition`; with ``positions=False`` the latents are those of a set, and the order of the tokens has no
    effect. Tokens that are no map's never get one: a table's have a vector of their column already.

    NOTE[DIFF] Flamingo does without spatial positions, because its deep convolutional encoder leaks them through its
    borders. Here shallow maps and those of transformers are tokens too, and CFCML's convolution knows each position.

    NOTE[DIFF] Tokens wider than ``width`` are projected down to it, and the latents up at the end. Attention's
    parameters grow with the square of the width: at 768 channels there were 4.8 million a block, of which little is
    left once a tokenizer has projected the latents to its own width.

    Args:
        shape: The tokens.
        n_latents: Number of tokens that go out.
        width: Width inside, at most; narrower tokens keep their own.
        n_heads: Heads of the attention; divides the width inside. None: the largest of 1, 2 and 4 that does and leaves
            each head 16 features.
        depth: Blocks. In the first the queries are the same for every case; from the second on they depend on it.
        expansion: Hidden width of the feed-forward over the width inside.
        dropout: Probability in the feed-forward.
        positions: Tell the positions of a map apart.
        n_bands: Frequencies of the positions along each axis.

    Raises:
        ValueError: If a number is not positive, or ``n_heads`` does not divide the width.
    """

    def __init__(
        self,
        shape: TokenShape,
        *,
        n_latents: Count,
        width: Width = 128,
        n_heads: Heads | None = None,
        depth: Depth = 2,
        expansion: Expansion = 2.0,
        dropout: Dropout = 0.0,
        positions: bool = True,
        n_bands: Annotated[int, Range(1, 64)] = 8,
    ) -> None:
        super().__init__()
        dim = min(width, shape.dim)
        if n_heads is None:
            n_heads = max(n for n in (1, 2, 4) if n == 1 or (dim % n == 0 and dim // n >= 16))
        self.n_latents = n_latents
        self.grid = shape.grid if positions else None
        self.norm = nn.LayerNorm(shape.dim)
        self.down = nn.Linear(shape.dim, dim) if dim < shape.dim else nn.Identity()
        self.position = None if self.grid is None else GridPosition(dim, n_axes=len(self.grid), n_bands=n_bands)
        self.latents = nn.Parameter(torch.empty(n_latents, dim))
        nn.init.normal_(self.latents, std=0.02)  # as Perceiver's
        self.blocks = nn.ModuleList(
            TransformerBlock(dim, n_heads=n_heads, expansion=expansion, dropout=dropout) for _ in range(depth)
        )
        self.out_norm = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, shape.dim) if dim < shape.dim else nn.Identity()

    def forward(self, tokens: Tokens) -> Tensor:
        """Compress.

        Args:
            tokens: Tokens of the width that it was built for; any number, or as many as the map has positions where
                these count. A masked one has no effect.

        Returns:
            Shape ``(b, n_latents, d)``. Where all tokens are masked, what the latents are by themselves.

        Raises:
            ValueError: If positions count and the number of tokens is another.
        """
        x = self.down(self.norm(tokens.filled()))
        if self.position is not None and self.grid is not None:
            check_n_tokens(x.shape[1], math.prod(self.grid))
            x = x + self.position(self.grid)
        latents = self.latents.expand(x.shape[0], -1, -1)
        for block in self.blocks:
            latents = _after(cast("TransformerBlock", block), latents, Tokens(x, tokens.mask))
        out: Tensor = self.up(self.out_norm(latents))
        return out


def _after(block: TransformerBlock, latents: Tensor, tokens: Tokens) -> Tensor:
    """Latents ``(b, n_latents, dim)``, changed by what they found in normalized tokens and in each other."""
    normed = block.norm1(latents)
    return block.looking_at(join([tokens, Tokens(normed)]), latents, normed)
