"""Tokens of some modalities that ask those of the others."""

from collections.abc import Sequence
from functools import partial

from torch import nn

from mmfusion.fusion.tokens.blocks import Attends, QueryBlock, TokenFusion, check_free, some_of
from mmfusion.options import Depth, Dropout, Expansion, Heads, ModalityNames, Width
from mmfusion.registry import token_fusions
from mmfusion.tokens import Tokens, join

JOINT = "joint"
"""What the set that is added is called."""


@token_fusions.register("query")
class Query(TokenFusion):
    """Some modalities' tokens ask those of all the others, in layers of self-attention, cross-attention, feed-forward.

    TIP's multimodal interaction (Du et al., 2024, arXiv 2407.07582, section 2): there the table asks the image. The
    modalities' tokens go out as they came in, and those that asked, with what they found, beside them under
    ``"joint"``. Without other modalities they ask each other alone.

    Args:
        names: The modalities, in order.
        dim: Width of the tokens.
        queries: The modalities that ask; None: the last, a table in most specs.
        depth: Layers.
        n_heads: Heads of each attention.
        expansion: Hidden width of the feed-forward over ``dim``.
        dropout: Probability in the feed-forward.

    Raises:
        ValueError: If ``depth`` is not positive, ``queries`` names no modality or another one, or a modality is called
            ``"joint"``.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        dim: Width,
        queries: ModalityNames | None = None,
        depth: Depth = 2,
        n_heads: Heads = 4,
        expansion: Expansion = 2.0,
        dropout: Dropout = 0.0,
    ) -> None:
        super().__init__(names)
        check_free(JOINT, names)
        self.queries = some_of("queries", self.names[-1:] if queries is None else queries, self.names)
        if not self.queries:
            raise ValueError(f"queries must name at least one of the modalities {self.names}, got none")
        self.context = tuple(name for name in self.names if name not in self.queries)
        self.norm_context = nn.LayerNorm(dim) if self.context else None
        block = partial(QueryBlock, dim, n_heads=n_heads, expansion=expansion, dropout=dropout)
        self.blocks = nn.ModuleList(block(context=bool(self.context)) for _ in range(depth))
        self.out_norm = nn.LayerNorm(dim)

    def fuse(self, tokens: dict[str, Tokens]) -> dict[str, Tokens]:
        """The same tokens, and under ``"joint"`` as many as ask, with the same mask."""
        return tokens | {JOINT: self.ask(tokens)}

    def attends(self) -> list[Attends]:
        """As of :class:`~mmfusion.fusion.tokens.blocks.TokenFusion`."""
        block = [Attends(self.queries, asked) for asked in (self.queries, self.context)]
        return block[: 2 if self.context else 1] * len(self.blocks)

    def ask(self, tokens: dict[str, Tokens]) -> Tokens:
        """What those that ask become, from tokens of all modalities."""
        asking = join([tokens[name] for name in self.queries])
        context = None
        if self.norm_context is not None:
            others = join([tokens[name] for name in self.context])
            context = Tokens(self.norm_context(others.filled()), others.mask)
        for block in self.blocks:
            asking = block(asking, context)
        return Tokens(self.out_norm(asking.x), asking.mask)
