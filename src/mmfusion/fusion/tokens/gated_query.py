"""RoVTL's gated cross-attention."""

from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from mmfusion.fusion.tokens.blocks import Attends, TokenFusion, some_of
from mmfusion.layers.attention import CrossAttention, FeedForward
from mmfusion.options import Depth, Dropout, Expansion, Heads, ModalityNames, Width
from mmfusion.registry import token_fusions
from mmfusion.tokens import Tokens


class Gate(nn.Sequential):
    """A share of 0 to 1 from one token: two hidden layers, sigmoid.

    NOTE[DIFF] GELU; the authors' code has ReLU, of which a narrow layer's units may all be dead from the start.

    Args:
        dim: Width of the token.
        dropout: Probability after the first hidden layer.
    """

    def __init__(self, dim: int, *, dropout: float = 0.0) -> None:
        half, eighth = max(1, dim // 2), max(1, dim // 8)
        super().__init__(
            nn.Linear(dim, half),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(half, eighth),
            nn.GELU(),
            nn.Linear(eighth, 1),
            nn.Sigmoid(),
        )


class GatedLayer(nn.Module):
    """Self-attention, what each source says through its gate, feed-forward, each beside a shortcut (pre-norm).

    Args:
        sources: Names of the sources.
        dim: Width of the tokens.
        n_heads: Heads of each attention.
        expansion: Hidden width of the feed-forward over ``dim``.
        dropout: Probability in the feed-forward and the gates.
    """

    def __init__(self, sources: Sequence[str], *, dim: int, n_heads: int, expansion: float, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.self_attention = CrossAttention(dim, n_heads=n_heads)
        self.norm_query = nn.ModuleDict({name: nn.LayerNorm(dim) for name in sources})
        self.attention = nn.ModuleDict({name: CrossAttention(dim, n_heads=n_heads) for name in sources})
        self.gate = nn.ModuleDict({name: Gate(dim, dropout=dropout) for name in sources})
        self.norm2 = nn.LayerNorm(dim)
        self.feed_forward = FeedForward(dim, expansion=expansion, dropout=dropout)

    def forward(self, tokens: Tokens, sources: dict[str, Tokens]) -> Tokens:
        """As many tokens as come in, with the same mask."""
        x = tokens.filled()
        normed = self.norm1(x)
        x = x + self.self_attention(normed, Tokens(normed, tokens.mask))
        for name, source in sources.items():
            x = x + self.share(name, source) * self.attention[name](self.norm_query[name](x), source)
        return Tokens(x + self.feed_forward(self.norm2(x)), tokens.mask)

    def share(self, name: str, source: Tokens) -> Tensor:
        """How much of what a source says is taken, shape ``(b, 1, 1)``; exactly 0 where it is missing."""
        gate: Tensor = self.gate[name](source.filled()[:, :1])
        if source.mask is None:
            return gate
        content = source.mask[:, 1:] if source.mask.shape[1] > 1 else source.mask
        return torch.where(content.any(1).view(-1, 1, 1), gate, 0.0)


@token_fusions.register("gated_query")
class GatedQuery(TokenFusion):
    """Tokens that ask a source, and take what they find through a gate that the source itself sets.

    In each layer ``x = x + g * attention(x, source)`` between self-attention and feed-forward, with a scalar gate
    ``g = sigmoid(MLP(source's first token))``, a [CLS], and exactly 0 where the source is missing: all of its tokens
    masked, or all but the first (RoVTL, Hasny et al., 2025, arXiv 2512.19602, gated cross-attention: image tokens ask
    the table's). Several sources are asked one after the other. The sources' tokens go out as they came in.

    Args:
        names: The modalities, in order.
        dim: Width of the tokens.
        sources: The modalities that are asked; None: the last, a table in most specs, or none if it is alone.
        depth: Layers.
        n_heads: Heads of each attention.
        expansion: Hidden width of the feed-forward over ``dim``.
        dropout: Probability in the feed-forward.

    Raises:
        ValueError: If ``depth`` is not positive, or ``sources`` names another modality or leaves none to ask.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        dim: Width,
        sources: ModalityNames | None = None,
        depth: Depth = 2,
        n_heads: Heads = 4,
        expansion: Expansion = 2.0,
        dropout: Dropout = 0.0,
    ) -> None:
        super().__init__(names)
        self.sources = some_of("sources", self.names[1:][-1:] if sources is None else sources, self.names)
        asking = [name for name in self.names if name not in self.sources]
        if not asking:
            raise ValueError(f"sources {self.sources} are all the modalities there are: one at least must ask")
        layer = partial(GatedLayer, self.sources, dim=dim, n_heads=n_heads, expansion=expansion, dropout=dropout)
        self.asking = nn.ModuleDict({name: nn.ModuleList(layer() for _ in range(depth)) for name in asking})

    def fuse(self, tokens: dict[str, Tokens]) -> dict[str, Tokens]:
        """As many tokens per modality as come in, with the same masks."""
        sources = {name: tokens[name] for name in self.sources}
        return {name: self._asked(name, of_name, sources) for name, of_name in tokens.items()}

    def attends(self) -> list[Attends]:
        """As of :class:`~mmfusion.fusion.tokens.blocks.TokenFusion`."""
        return [
            Attends((name,), (asked,))
            for name in self.names
            if name not in self.sources
            for _ in cast("nn.ModuleList", self.asking[name])
            for asked in (name, *self.sources)
        ]

    def _asked(self, name: str, tokens: Tokens, sources: dict[str, Tokens]) -> Tokens:
        if name in self.sources:
            return tokens
        for layer in cast("nn.ModuleList", self.asking[name]):
            tokens = layer(tokens, sources)
        return tokens
