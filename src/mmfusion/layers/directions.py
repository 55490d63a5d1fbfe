"""Vectors divided by their length."""

import torch
from torch import Tensor


def unit(x: Tensor) -> Tensor:
    """Divide each vector by its Euclidean length.

    Each vector is scaled by its largest entry first, so that neither overflow nor underflow of a square spoils the
    length: any scale that the dtype can hold is right.

    Args:
        x: Shape ``(..., d)``.

    Returns:
        Shape ``(..., d)``. A zero vector stays zero, and its gradient is zero: it has no direction. NaN stays NaN.
    """
    largest = torch.linalg.vector_norm(x.detach(), torch.inf, -1, keepdim=True)
    zero = largest == 0
    # A zero vector over infinity is zero, and so is its gradient. NaN is no zero: it comes through.
    scaled: Tensor = x / largest.masked_fill(zero, torch.inf)
    # The length of a zero vector becomes 1: it must not divide. Not by a clamp: a vector with one entry has the length
    # 1 exactly, and at its limit a clamp passes no gradient.
    length: Tensor = torch.linalg.vector_norm(scaled, dim=-1, keepdim=True) + zero
    return scaled / length
