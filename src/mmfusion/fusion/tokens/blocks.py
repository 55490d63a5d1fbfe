"""Token fusion: base class, attention blocks with normalizations and shortcuts, and their checks."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

from mmfusion.layers.attention import CrossAttention, FeedForward
from mmfusion.layers.windows import Windows
from mmfusion.tokens import Tokens


class Attends(NamedTuple):
    """What one ``scaled_dot_product_attention`` of a part is between.

    Attributes:
        queries: Names of the sets whose tokens ask, in order.
        keys: Names of the sets that are asked, in order.
        windows: Of an attention within windows, with the windows beside the heads: all sets are maps of their grid.
        where: The step within the part, such as ``"stages.1.0"``; empty: the part has no steps with names.
    """

    queries: tuple[str, ...]
    keys: tuple[str, ...]
    windows: Windows | None = None
    where: str = ""


@runtime_checkable
class Attending(Protocol):
    """A part of a model that names the sets of its attentions."""

    def attends(self) -> list[Attends]:
        """Of each attention in turn, the sets that ask and the sets that are asked; see :mod:`mmfusion.explain`."""


class TokenFusion(nn.Module):
    """One set of tokens per modality to the same, changed by each other, and any more; a subclass defines :meth:`fuse`.

    Args:
        names: The modalities, in order.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)

    def forward(self, tokens: dict[str, Tokens]) -> dict[str, Tokens]:
        """Fuse.

        Args:
            tokens: By modality.

        Raises:
            ValueError: If the modalities are others than it was built for, or in another order.
        """
        if tuple(tokens) != self.names:
            raise ValueError(f"this block was built for the modalities {self.names}, got {tuple(tokens)}")
        return self.fuse(tokens)

    def fuse(self, tokens: dict[str, Tokens]) -> dict[str, Tokens]:
        """From tokens of the modalities that it was built for to sets of tokens by name."""
        raise NotImplementedError("a token fusion defines fuse()")  # abstract

    def attends(self) -> list[Attends]:
        """Of each attention in turn, the sets that ask and the sets that are asked; see :mod:`mmfusion.explain`."""
        return []


def check_free(added: str, names: Sequence[str]) -> None:
    """Raise an error about a modality with the name of the set that a block adds.

    Raises:
        ValueError: If there is one.
    """
    if added in names:
        raise ValueError(f"this block adds tokens called {added!r}, which is a modality's name: rename the modality")


def some_of(option: str, chosen: Sequence[str], names: tuple[str, ...]) -> tuple[str, ...]:
    """The modalities that an option names, in the block's order.

    Raises:
        ValueError: If one of them is no modality of the block.
    """
    if isinstance(chosen, str) or not set(chosen) <= set(names):
        raise ValueError(f"{option} must be some of the modalities {names}, got {chosen!r}")
    return tuple(name for name in names if name in chosen)


def has_tokens(tokens: Tokens) -> Tensor | None:
    """Which cases have any real token, shape ``(b,)`` bool; None: all have."""
    return None if tokens.mask is None else tokens.mask.any(1)


class CrossBlock(nn.Module):
    """Tokens look at another set, then go through a feed-forward network, each behind a normalization and beside a
    shortcut (pre-norm).

    Args:
        dim: Width of the tokens.
        n_heads: Heads of the attention.
        expansion: Hidden width of the feed-forward over ``dim``; 0: there is none.
        dropout: Probability in the feed-forward.
    """

    def __init__(self, dim: int, *, n_heads: int = 4, expansion: float = 2.0, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.norm_context = nn.LayerNorm(dim)
        self.attention = CrossAttention(dim, n_heads=n_heads)
        self.norm2 = nn.LayerNorm(dim) if expansion else None
        self.feed_forward = FeedForward(dim, expansion=expansion, dropout=dropout) if expansion else None

    def forward(self, x: Tensor, context: Tokens) -> Tensor:
        """Tokens.

        Args:
            x: Shape ``(b, n, dim)``.
            context: What they look at, ``(b, n_context, dim)``; where all of it is masked they find zeros.

        Returns:
            Shape ``(b, n, dim)``.
        """
        x = x + self.attention(self.norm1(x), Tokens(self.norm_context(context.filled()), context.mask))
        return self.fed_forward(x)

    def fed_forward(self, x: Tensor) -> Tensor:
        """What comes behind the attention, shape ``(b, n, dim)``."""
        if self.norm2 is None or self.feed_forward is None:
            return x
        out: Tensor = x + self.feed_forward(self.norm2(x))
        return out


class QueryBlock(nn.Module):
    """Tokens look at each other, at another set, and go through a feed-forward network, each behind a normalization and
    beside a shortcut (pre-norm).

    Args:
        dim: Width of the tokens.
        n_heads: Heads of each attention.
        expansion: Hidden width of the feed-forward over ``dim``.
        dropout: Probability in the feed-forward.
        context: False: there is no other set.
    """

    def __init__(
        self, dim: int, *, n_heads: int = 4, expansion: float = 2.0, dropout: float = 0.0, context: bool = True
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.self_attention = CrossAttention(dim, n_heads=n_heads)
        self.norm_query = nn.LayerNorm(dim) if context else None
        self.cross_attention = CrossAttention(dim, n_heads=n_heads) if context else None
        self.norm2 = nn.LayerNorm(dim)
        self.feed_forward = FeedForward(dim, expansion=expansion, dropout=dropout)

    def forward(self, tokens: Tokens, context: Tokens | None = None) -> Tokens:
        """As many tokens as come in, with the same mask.

        Args:
            tokens: ``n`` tokens that ask.
            context: The tokens that they ask, normalized already. None for a block without.
        """
        x = tokens.filled()
        normed = self.norm1(x)
        x = x + self.self_attention(normed, Tokens(normed, tokens.mask))
        if self.norm_query is not None and self.cross_attention is not None and context is not None:
            x = x + self.cross_attention(self.norm_query(x), context)
        return Tokens(x + self.feed_forward(self.norm2(x)), tokens.mask)
