"""MulT's crossmodal transformers, one for each ordered pair of modalities."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfusion.fusion.tokens.blocks import Attends, CrossBlock, TokenFusion
from mmfusion.options import Depth, Dropout, Heads, Range, Width
from mmfusion.registry import token_fusions
from mmfusion.tokens import Tokens


@token_fusions.register("directional")
class Directional(TokenFusion):
    """Each modality, as every other one makes it see itself.

    For each ordered pair a crossmodal transformer: queries are the target's tokens as they become from layer to layer,
    keys and values in every layer the source's tokens as they came in,
    ``z[i] = block[i](z[i-1], source)``, ``z[0] = target`` (MulT, Tsai et al., 2019, arXiv 1906.00295, section 3.2). A
    modality's outcomes from all its sources are put side by side, so that its tokens are ``(m - 1) dim`` wide, see
    ``dim_out``; a modality alone stays as it is.

    NOTE[DIFF] The shortcuts carry the tokens themselves, as in the authors' code; in the paper's equations they carry
    the normalized ones. NOTE[DIFF] The feed-forward has GELU, as all blocks here; published is ReLU. NOTE[DIFF] Target
    and source have a normalization each; in the authors' code they have one of the same weights.

    A source that a case lacks adds nothing to the target's tokens, which then pass through the feed-forward alone.

    Args:
        names: The modalities, in order.
        dim: Width of the tokens.
        depth: Layers of each crossmodal transformer (D).
        n_heads: Heads of each attention.
        expansion: Hidden width of the feed-forward over ``dim``; 0: there is none.
        dropout: Probability in the feed-forward.
        out_norm: Normalize what each crossmodal transformer ends in, as in the authors' code.

    Attributes:
        dim_out: Width of the tokens that go out.

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
        expansion: Annotated[float, Range(0, 64)] = 2.0,
        dropout: Dropout = 0.0,
        out_norm: bool = False,
    ) -> None:
        super().__init__(names)
        self.dim_out = dim * max(1, len(self.names) - 1)
        block = partial(CrossBlock, dim, n_heads=n_heads, expansion=expansion, dropout=dropout)
        # By target, then by source.
        self.pairs = self._of_pairs(lambda: nn.ModuleList(block() for _ in range(depth)))
        self.out_norms = self._of_pairs(lambda: nn.LayerNorm(dim)) if out_norm else None

    def _of_pairs(self, make: Callable[[], nn.Module]) -> nn.ModuleDict:
        """A module for each ordered pair; none for a modality alone."""
        sources = {target: [name for name in self.names if name != target] for target in self.names}
        return nn.ModuleDict(
            {target: nn.ModuleDict({name: make() for name in names}) for target, names in sources.items() if names}
        )

    def fuse(self, tokens: dict[str, Tokens]) -> dict[str, Tokens]:
        """As many tokens per modality as come in, ``dim_out`` wide, with the same masks."""
        if not self.pairs:
            return tokens
        normed = {name: standardized(of_name.filled()) for name, of_name in tokens.items()}
        return {target: self._seen_by_all(target, tokens, normed) for target in self.names}

    def attends(self) -> list[Attends]:
        """As of :class:`~mmfusion.fusion.tokens.blocks.TokenFusion`."""
        return [
            Attends((target,), (source,))
            for target in self.names
            for source, layers in (cast("nn.ModuleDict", self.pairs[target]) if self.pairs else {}).items()
            for _ in cast("nn.ModuleList", layers)
        ]

    def _seen_by_all(self, target: str, tokens: dict[str, Tokens], normed: dict[str, Tensor]) -> Tokens:
        target_x, seen = tokens[target].filled(), []
        for source, layers in cast("nn.ModuleDict", self.pairs[target]).items():
            x = target_x
            for i, block in enumerate(cast("nn.ModuleList", layers)):
                asking = standardized(x) if i else normed[target]
                x = folded_block(cast("CrossBlock", block), x, asking, normed[source], tokens[source].mask)
            seen.append(x if self.out_norms is None else cast("nn.ModuleDict", self.out_norms[target])[source](x))
        return Tokens(torch.cat(seen, -1), tokens[target].mask)


def folded_block(block: CrossBlock, x: Tensor, asking: Tensor, seen: Tensor, mask: Tensor | None) -> Tensor:
    """``block(x, source)`` from both as :func:`standardized` leaves them: a source is looked at by many blocks.

    What is left of the two normalizations, their scales and shifts, goes into the linear maps behind them.
    """
    attention = block.attention
    values, shift = folded(block.norm_context, attention.value)
    x = x + attention.projected(
        F.linear(asking, *folded(block.norm1, attention.query)),
        F.linear(seen, *folded(block.norm_context, attention.key)),
        F.linear(seen, values),
        mask,
        shift=shift,
    )
    return block.fed_forward(x)


def standardized(x: Tensor) -> Tensor:
    """What a layer normalization makes of tokens before it scales and shifts them."""
    return F.layer_norm(x, x.shape[-1:])


def folded(norm: nn.LayerNorm, linear: nn.Linear) -> tuple[Tensor, Tensor]:
    """Weight and bias that make of standardized tokens what ``linear(norm(x))`` makes of any.

    ``W (g x + s) + b`` is ``(W g) x + (W s + b)``: the scale and the shift become products of weights, not of tokens.
    """
    return linear.weight * norm.weight, torch.addmv(linear.bias, linear.weight, norm.bias)
