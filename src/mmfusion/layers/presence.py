"""Values for the cases that have something, others for those that lack it."""

import torch
from torch import Tensor


def where_present(x: Tensor, present: Tensor | None, other: Tensor | float) -> Tensor:
    """A tensor for the cases that have something.

    Args:
        x: Shape ``(b, ...)``.
        present: Shape ``(b,)``, bool; None: all have it.
        other: For the cases that lack it, of the shape of ``x`` or one number.

    Returns:
        The shape of ``x``.
    """
    return x if present is None else torch.where(present.view(-1, *(1,) * (x.ndim - 1)), x, other)
