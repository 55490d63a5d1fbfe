"""Latents that collect what the modalities have, one after the other."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn

from mmfusion.fusion.tokens.blocks import Attends, CrossBlock, TokenFusion, check_free, has_tokens
from mmfusion.layers.attention import TransformerBlock
from mmfusion.layers.presence import where_present
from mmfusion.options import Count, Depth, Dropout, Expansion, Heads, Width
from mmfusion.registry import token_fusions
from mmfusion.tokens import Tokens

LATENTS = "latents"
"""What the set that is added is called."""


@token_fusions.register("latent")
class Latent(TokenFusion):
    """Learned latents, updated by one cross-attention and feed-forward a modality, layer after layer.

    ``latents = block[i, m](latents, tokens[m])`` for each modality in turn, in each layer i (HEALNet, Hemker et al.,
    2024, arXiv 2311.09115; the attention is Perceiver's, arXiv 2103.03206). A modality that a case lacks is
    skipped, its feed-forward too, and nothing else changes. Attention costs ``n_latents * n_m`` a modality.

    The latents live between the layers, so this is one block with its depth inside. The modalities' tokens go out as
    they came in, and the latents beside them, under ``"latents"``.

    Positions are the tokenizers' matter: :class:`~mmfusion.tokenizers.Patches` adds Fourier features', which is the
    same as to concatenate them ahead of a linear map.

    Args:
        names: The modalities, in order.
        dim: Width of the tokens and the latents.
        n_latents: Number of latents.
        depth: Layers.
        n_heads: Heads of each attention.
        expansion: Hidden width of the feed-forward over ``dim``.
        dropout: Probability in the feed-forward.
        self_attention: A transformer block over the latents after each layer.
        share_layers: All layers have the same weights, as Perceiver's.

    Raises:
        ValueError: If a number is not positive or a modality is called ``"latents"``.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        dim: Width,
        n_latents: Count = 32,
        depth: Depth = 2,
        n_heads: Heads = 4,
        expansion: Expansion = 2.0,
        dropout: Dropout = 0.0,
        self_attention: bool = False,
        share_layers: bool = False,
    ) -> None:
        super().__init__(names)
        check_free(LATENTS, names)
        self.depth = depth
        self.latents = nn.Parameter(torch.empty(n_latents, dim))
        nn.init.normal_(self.latents, std=0.02)  # as Perceiver's
        n_layers = 1 if share_layers else depth
        block: dict[str, Any] = {"n_heads": n_heads, "expansion": expansion, "dropout": dropout}
        self.layers = nn.ModuleList(
            nn.ModuleDict({name: CrossBlock(dim, **block) for name in self.names}) for _ in range(n_layers)
        )
        self.among = nn.ModuleList(TransformerBlock(dim, **block) for _ in range(n_layers if self_attention else 0))

    def fuse(self, tokens: dict[str, Tokens]) -> dict[str, Tokens]:
        """The same tokens, and ``n_latents`` more under ``"latents"``, all real."""
        latents = self.latents.expand(next(iter(tokens.values())).x.shape[0], -1, -1)
        for index in range(self.depth):
            blocks = cast("nn.ModuleDict", self.layers[index % len(self.layers)])
            for name, of_name in tokens.items():
                latents = where_present(blocks[name](latents, of_name), has_tokens(of_name), latents)
            if self.among:
                latents = self.among[index % len(self.among)](Tokens(latents)).x
        return tokens | {LATENTS: Tokens(latents)}

    def attends(self) -> list[Attends]:
        """As of :class:`~mmfusion.fusion.tokens.blocks.TokenFusion`."""
        latents = (LATENTS,)
        layer = [Attends(latents, (name,)) for name in self.names]
        return (layer + [Attends(latents, latents)] * bool(len(self.among))) * self.depth
