"""CFCML's crossmodal information enhancement."""

from collections.abc import Sequence

import torch
from torch import nn

from mmfusion.fusion.tokens.blocks import Attends, TokenFusion
from mmfusion.layers.attention import CrossAttention
from mmfusion.options import Heads, Width
from mmfusion.registry import token_fusions
from mmfusion.tokens import Tokens, join


@token_fusions.register("crossmodal_enhancement")
class CrossmodalEnhancement(TokenFusion):
    """Each modality's tokens, completed by what they find in the other modalities.

    ``tc[m] = [p[m]; MHA[m](p[m], [p[m'] for m' != m])]``: queries are the modality's own tokens, keys and values those
    of all others in their order, and what was found is appended, so that the number of tokens doubles (CFCML, arXiv
    2603.20016, MG-CIE). Each modality has an attention of its own. No residual, no normalization.

    With a single modality there is nothing to find: the tokens are completed by zeros.

    Args:
        names: The modalities, in order.
        dim: Width of the tokens.
        n_heads: Heads of each attention.
    """

    def __init__(self, names: Sequence[str], *, dim: Width, n_heads: Heads = 4) -> None:
        super().__init__(names)
        self.attention = nn.ModuleDict(
            {name: CrossAttention(dim, n_heads=n_heads) for name in self.names if len(self.names) > 1}
        )

    def fuse(self, tokens: dict[str, Tokens]) -> dict[str, Tokens]:
        """Enhance.

        Args:
            tokens: One set a modality.

        Returns:
            One set a modality, of twice as many tokens. A masked token stays masked, and so does its completion.
        """
        return {name: self._completed(name, tokens) for name in self.names}

    def attends(self) -> list[Attends]:
        """As of :class:`~mmfusion.fusion.tokens.blocks.TokenFusion`."""
        return [
            Attends((name,), tuple(other for other in self.names if other != name))
            for name in self.names
            if name in self.attention
        ]

    def _completed(self, name: str, tokens: dict[str, Tokens]) -> Tokens:
        query = tokens[name]
        x = query.filled()
        if name not in self.attention:
            return Tokens(torch.cat([x, torch.zeros_like(x)], 1), _twice(query))
        attended = self.attention[name](x, join([other for key, other in tokens.items() if key != name]))
        return Tokens(torch.cat([x, attended], 1), _twice(query))


def _twice(tokens: Tokens) -> torch.Tensor | None:
    return None if tokens.mask is None else torch.cat([tokens.mask, tokens.mask], 1)
