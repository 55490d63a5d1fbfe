"""Self-attention within each modality."""

from collections.abc import Sequence

from torch import nn

from mmfusion.layers.attention import TransformerBlock
from mmfusion.registry import interactions
from mmfusion.tokens import Tokens

__all__ = ["SelfAttention", "TransformerBlock"]


@interactions.register("self_attention")
class SelfAttention(nn.Module):
    """A transformer block of its own for each modality; modalities do not see each other.

    Args:
        names: The modalities, in order.
        dim: Width of the tokens.
        n_heads: Heads of the attention.
        expansion: Hidden width of the feed-forward over ``dim``.
        dropout: Probability in the feed-forward.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        dim: int,
        n_heads: int = 4,
        expansion: float = 2.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.names = tuple(names)
        self.blocks = nn.ModuleDict(
            {name: TransformerBlock(dim, n_heads=n_heads, expansion=expansion, dropout=dropout) for name in names}
        )

    def forward(self, tokens: dict[str, Tokens]) -> dict[str, Tokens]:
        """As many tokens a modality as come in, with the same masks.

        Raises:
            ValueError: If the modalities are others.
        """
        if tuple(tokens) != self.names:
            raise ValueError(f"this block was built for the modalities {self.names}, got {tuple(tokens)}")
        return {name: self.blocks[name](one) for name, one in tokens.items()}
