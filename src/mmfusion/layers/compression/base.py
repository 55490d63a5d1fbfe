"""Token compression: factory and checks."""

from typing import Any

from torch import nn

from mmfusion.registry import Choice, compressions
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
    options: dict[str, Any] = {"name": choice} if isinstance(choice, str) else dict(choice)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise ValueError(f"a compression is a name, or a mapping with name and options, got {choice!r}")
    if "n_latents" in options:
        raise ValueError(f"n_latents is set beside the compression, not in its options, got {choice!r}")
    compression: nn.Module = compressions.create(name, shape, n_latents=n_latents, **options)
    return compression


def check_n_latents(n_latents: int) -> None:
    """Raise an error about a number of latents that is not positive.

    Raises:
        ValueError: If it is not positive.
    """
    if n_latents < 1:
        raise ValueError(f"n_latents must be positive, got {n_latents}")


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
