"""Multi-head attention between token sets, on ``scaled_dot_product_attention``."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from mmfusion.tokens import Tokens


class CrossAttention(nn.Module):
    """Multi-head attention of one set of tokens over another.

    Four linear maps with bias; each head works on a contiguous slice of ``dim / n_heads`` features. No residual, no
    normalization, no positional encoding: a block that wants them adds them.

    Args:
        dim: Width of the tokens.
        n_heads: Number of heads; divides ``dim``.

    Raises:
        ValueError: If ``n_heads`` does not divide ``dim``.
    """

    def __init__(self, dim: int, *, n_heads: int = 4) -> None:
        super().__init__()
        if n_heads < 1 or dim % n_heads:
            raise ValueError(f"n_heads must divide dim, got {dim=} and {n_heads=}")
        self.n_heads = n_heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, queries: Tensor, context: Tokens) -> Tensor:
        """Attend.

        Args:
            queries: Shape ``(b, n, d)``.
            context: ``n_context`` tokens; a masked one has no effect.

        Returns:
            Shape ``(b, n, d)``; zero for a case whose whole context is masked.
        """
        filled = context.filled()
        return self.projected(self.query(queries), self.key(filled), self.value(filled), context.mask)

    def projected(
        self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, *, shift: Tensor | None = None
    ) -> Tensor:
        """Attend with what went through the first three maps already.

        Args:
            queries: Shape ``(b, n, d)``.
            keys: Shape ``(b, n_context, d)``.
            values: Shape ``(b, n_context, d)``; finite where masked too.
            mask: Shape ``(b, n_context)`` bool, True = real; None: all are.
            shift: Shape ``(d,)``, what all values still lack. The attention's weights sum to 1, so it comes out as it
                went in, and is left for the last map's bias.

        Returns:
            Shape ``(b, n, d)``; zero for a case whose whole context is masked.
        """
        allowed, anything = _attention_mask(mask)
        q, k, v = (rearrange(x, "b n (h d) -> b h n d", h=self.n_heads) for x in (queries, keys, values))
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        bias = self.out.bias if shift is None else torch.addmv(self.out.bias, self.out.weight, shift)
        out = F.linear(rearrange(attended, "b h n d -> b n (h d)"), self.out.weight, bias)
        return out if anything is None else torch.where(anything, out, 0.0)


def _attention_mask(mask: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """The mask for the attention ``(b, 1, 1, n)`` and which cases have any context ``(b, 1, 1)``; True is real.

    A row without a single real entry would be a softmax over nothing, which is NaN. Such a row attends to everything
    instead, and its result is replaced afterwards.
    """
    if mask is None:
        return None, None
    anything = mask.any(-1, keepdim=True)
    return (mask | ~anything)[:, None, None, :], anything.unsqueeze(-1)


class FeedForward(nn.Sequential):
    """Linear, GELU, dropout, linear.

    Args:
        dim: Width of the tokens.
        expansion: Width of the hidden layer over ``dim``.
        dropout: Probability after the activation.
    """

    def __init__(self, dim: int, *, expansion: float = 2.0, dropout: float = 0.0) -> None:
        hidden = round(dim * expansion)
        super().__init__(nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, dim))


class TransformerBlock(nn.Module):
    """Attention and feed-forward, each behind a normalization and beside a shortcut (pre-norm).

    Args:
        dim: Width of the tokens.
        n_heads: Heads of the attention.
        expansion: Hidden width of the feed-forward over ``dim``.
        dropout: Probability in the feed-forward.
        input_norm: False: the attention takes the tokens as they come, without the normalization before it.
    """

    def __init__(
        self, dim: int, *, n_heads: int = 4, expansion: float = 2.0, dropout: float = 0.0, input_norm: bool = True
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim) if input_norm else nn.Identity()
        self.attention = CrossAttention(dim, n_heads=n_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.feed_forward = FeedForward(dim, expansion=expansion, dropout=dropout)

    def forward(self, tokens: Tokens) -> Tokens:
        """As many tokens as come in, with the same mask."""
        x = tokens.filled()
        normed = self.norm1(x)
        return Tokens(self.looking_at(Tokens(normed, tokens.mask), x, normed), tokens.mask)

    def looking_at(self, context: Tokens, x: Tensor, normed: Tensor) -> Tensor:
        """Tokens ``(b, n, dim)`` after attention to a context and feed-forward; ``normed`` is ``norm1(x)``."""
        x = x + self.attention(normed, context)
        out: Tensor = x + self.feed_forward(self.norm2(x))
        return out
