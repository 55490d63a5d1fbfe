"""Self-attention within each modality."""

from collections.abc import Sequence
from functools import partial

from torch import nn

from mmfusion.fusion.tokens.blocks import Attends, TokenFusion
from mmfusion.layers.attention import TransformerBlock
from mmfusion.options import Dropout, Expansion, Heads, Width
from mmfusion.registry import token_fusions
from mmfusion.tokens import Tokens


@token_fusions.register("self_attention")
class SelfAttention(TokenFusion):
    """A transformer block of its own for each modality; modalities do not see each other.

    Args:
        names: The modalities, in order.
        dim: Width of the tokens.
        n_heads: Heads of the attention.
        expansion: Hidden width of the feed-forward over ``dim``.
        dropout: Probability in the feed-forward.
        input_norm: False: the attention takes the tokens as they come, as in FT-Transformer's first block.
        out_norm: Normalize what goes out, as a stack of such blocks does behind the last of them.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        dim: Width,
        n_heads: Heads = 4,
        expansion: Expansion = 2.0,
        dropout: Dropout = 0.0,
        input_norm: bool = True,
        out_norm: bool = False,
    ) -> None:
        super().__init__(names)
        block = partial(TransformerBlock, dim, n_heads=n_heads, expansion=expansion, dropout=dropout)
        self.blocks = nn.ModuleDict({name: block(input_norm=input_norm) for name in names})
        self.out_norms = nn.ModuleDict({name: nn.LayerNorm(dim) for name in names}) if out_norm else None

    def fuse(self, tokens: dict[str, Tokens]) -> dict[str, Tokens]:
        """As many tokens per modality as come in, with the same masks."""
        tokens = {name: self.blocks[name](of_name) for name, of_name in tokens.items()}
        if self.out_norms is not None:
            tokens = {name: Tokens(self.out_norms[name](of_name.x), of_name.mask) for name, of_name in tokens.items()}
        return tokens

    def attends(self) -> list[Attends]:
        """As of :class:`~mmfusion.fusion.tokens.blocks.TokenFusion`."""
        return [Attends((name,), (name,)) for name in self.names]
