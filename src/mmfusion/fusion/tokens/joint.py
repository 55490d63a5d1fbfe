"""Attention over the tokens of all modalities together."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from mmfusion.fusion.tokens.blocks import Attends, TokenFusion
from mmfusion.layers.attention import TransformerBlock
from mmfusion.options import Depth, Dropout, Expansion, Heads, Width
from mmfusion.registry import token_fusions
from mmfusion.tokens import Tokens, join


@token_fusions.register("joint_attention")
class JointAttention(TokenFusion):
    """Transformer blocks over one sequence of all tokens: every token sees every other.

    Nothing says which modality a token is of: a tokenizer that wants it known adds it.

    Args:
        names: The modalities, in order.
        dim: Width of the tokens.
        depth: Blocks.
        n_heads: Heads of each attention.
        expansion: Hidden width of the feed-forward over ``dim``.
        dropout: Probability in the feed-forward.

    Raises:
        ValueError: If ``depth`` is not positive.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        dim: Width,
        depth: Depth = 1,
        n_heads: Heads = 4,
        expansion: Expansion = 2.0,
        dropout: Dropout = 0.0,
    ) -> None:
        super().__init__(names)
        block = partial(TransformerBlock, dim, n_heads=n_heads, expansion=expansion, dropout=dropout)
        self.blocks = nn.Sequential(*(block() for _ in range(depth)))

    def fuse(self, tokens: dict[str, Tokens]) -> dict[str, Tokens]:
        """As many tokens per modality as come in, with the same masks."""
        together = self.blocks(join(list(tokens.values())))
        parts = torch.split(together.x, [of_name.x.shape[1] for of_name in tokens.values()], 1)
        return {name: Tokens(x, tokens[name].mask) for name, x in zip(self.names, parts, strict=True)}

    def attends(self) -> list[Attends]:
        """As of :class:`~mmfusion.fusion.tokens.blocks.TokenFusion`."""
        return [Attends(self.names, self.names)] * len(self.blocks)
