"""Tokens of all modalities at one scale."""

import torch.nn.functional as F

from mmfusion.tokens import Tokens


def normalized(tokens: Tokens) -> Tokens:
    """Each token at mean 0 and variance 1 over its features: layer normalization without parameters.

    Args:
        tokens: ``x`` of shape ``(b, n, d)``.

    Returns:
        The same shape and mask; a token of zeros, as masked ones are, stays zero.
    """
    return Tokens(F.layer_norm(tokens.x, tokens.x.shape[-1:]), tokens.mask)
