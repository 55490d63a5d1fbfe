"""MBT's fusion through a few tokens that all modalities share."""

from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from mmfusion.fusion.tokens.blocks import Attends, TokenFusion, has_tokens
from mmfusion.layers.attention import TransformerBlock
from mmfusion.layers.presence import where_present
from mmfusion.options import Count, Depth, DepthOrNone, Dropout, Expansion, Heads, Width
from mmfusion.registry import token_fusions
from mmfusion.tokens import Tokens, join


@token_fusions.register("bottleneck")
class Bottleneck(TokenFusion):
    """Modalities exchange information through bottleneck tokens alone.

    Layers below ``fusion_layer`` are transformer blocks of each modality by itself. From there on each modality attends
    over its own tokens and the bottlenecks, ``[z_m; b_m] = block_m([z_m; b])``, and the bottlenecks of the next layer
    are the mean of what the modalities made of them, ``b = mean_m b_m`` (MBT, Nagrani et al., 2021, arXiv 2107.00135,
    section 3.2). Attention costs ``n_m^2`` a modality instead of ``(sum n_m)^2``.

    The bottlenecks live between the layers of one fusion, so this is one block with its depth inside, and they do not
    leave it.

    NOTE[DIFF] A modality that a case lacks does not enter the mean; the paper has all of them.

    Args:
        names: The modalities, in order.
        dim: Width of the tokens.
        depth: Layers (L).
        fusion_layer: Layers before the first that sees the bottlenecks (L_f).
        n_bottlenecks: Bottleneck tokens (B).
        n_heads: Heads of each attention.
        expansion: Hidden width of the feed-forward over ``dim``.
        dropout: Probability in the feed-forward.

    Raises:
        ValueError: If a number is not positive, or ``fusion_layer`` is none of the layers.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        dim: Width,
        depth: Depth = 2,
        fusion_layer: DepthOrNone = 0,
        n_bottlenecks: Count = 4,
        n_heads: Heads = 4,
        expansion: Expansion = 2.0,
        dropout: Dropout = 0.0,
    ) -> None:
        super().__init__(names)
        if not 0 <= fusion_layer < depth:
            raise ValueError(f"fusion_layer must be one of the layers 0 to {depth - 1}, got {fusion_layer}")
        self.fusion_layer = fusion_layer
        self.bottlenecks = nn.Parameter(torch.empty(n_bottlenecks, dim))
        nn.init.normal_(self.bottlenecks, std=0.02)
        block = partial(TransformerBlock, dim, n_heads=n_heads, expansion=expansion, dropout=dropout)
        self.layers = nn.ModuleList(nn.ModuleDict({name: block() for name in self.names}) for _ in range(depth))

    def fuse(self, tokens: dict[str, Tokens]) -> dict[str, Tokens]:
        """As many tokens per modality as come in, with the same masks."""
        shared = self.bottlenecks.expand(next(iter(tokens.values())).x.shape[0], -1, -1)
        for index, layer in enumerate(self.layers):
            blocks = cast("nn.ModuleDict", layer)
            if index < self.fusion_layer:
                tokens = {name: blocks[name](of_name) for name, of_name in tokens.items()}
            else:
                tokens, shared = _exchange(blocks, tokens, shared)
        return tokens

    def attends(self) -> list[Attends]:
        """As of :class:`~mmfusion.fusion.tokens.blocks.TokenFusion`."""
        return [
            Attends((name, *shared), (name, *shared))
            for index in range(len(self.layers))
            for shared in [("bottlenecks",) if index >= self.fusion_layer else ()]
            for name in self.names
        ]


def _exchange(blocks: nn.ModuleDict, tokens: dict[str, Tokens], shared: Tensor) -> tuple[dict[str, Tokens], Tensor]:
    """One layer: new tokens, and the mean of the modalities' bottlenecks over those that a case has."""
    updated: dict[str, Tokens] = {}
    total, count = torch.zeros_like(shared), shared.new_zeros(shared.shape[0], 1, 1)
    for name, of_name in tokens.items():
        n = of_name.x.shape[1]
        seen = blocks[name](join([of_name, Tokens(shared)])).x
        updated[name] = Tokens(seen[:, :n], of_name.mask)
        has = has_tokens(of_name)
        total = total + where_present(seen[:, n:], has, 0.0)
        count = count + (1 if has is None else has.view(-1, 1, 1).to(count.dtype))
    return updated, torch.where(count > 0, total / count.clamp(min=1), shared)
