"""Token compression: factory and checks."""

from torch import nn

from mmfusion.registry import Choice, compressions, named
from mmfusion.tokens import TokenShape


def create_compression(choice: Choice, shape: TokenShape, *, n_latents: int) -> nn.Module:
    """Build a compression from plain settings.

    Args:
        choice: A registered name, or a mapping with ``name`` and the compression's options.
        shape: The tokens that it will get.
        n_latents: Tokens that go out.

    Returns:
        From :class:`~mmfusion.tokens.Tokens` ``(b, n_tokens, dim)`` to a tensor ``(b, n_latents, dim)``.

    Raises:
        ValueError: If the name or an option is unknown or out of range.
    """
    name, options = named(choice, compressions.kind)
    if "n_latents" in options:
        raise ValueError(f"n_latents is set beside the compression, not in its options, got {choice!r}")
    compression: nn.Module = compressions.create(name, shape, n_latents=n_latents, **options)
    return compression


def check_n_tokens(n_tokens: int, expected: int) -> None:
    """Raise an error about another number of tokens than a compression was built for.

    Raises:
        ValueError: Saying what to look at.
    """
    if n_tokens != expected:
        raise ValueError(
            f"this compression was built for {expected} tokens, got {n_tokens}: the image size or the number of "
            "columns differs from the spec that the model was built with"
        )
