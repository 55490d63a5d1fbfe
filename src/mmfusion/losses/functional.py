"""The formulas of the loss bank as functions of tensors.

All of them work on directions: an embedding is divided by its length first. Half precision is computed in
float32, inside or outside autocast, because a sum of exponentials of cosines over a temperature of 0.07 spans
twelve decades; float64 stays float64.
"""

import torch
from torch import Tensor

from mmfusion.layers.directions import unit
from mmfusion.utils.precision import full_precision, without_autocast


def clamp_value(x: Tensor, low: float | None = None, high: float | None = None) -> Tensor:
    """Clamp the values and let the gradient pass, at the limits and beyond them.

    For limits that only rounding oversteps: there :func:`torch.clamp` cuts the gradient off, and at the limit itself
    its gradient depends on torch's version.

    Args:
        x: Any shape, finite.
        low: The least value; None: no limit.
        high: The largest value; None: no limit.

    Returns:
        The shape of ``x``.
    """
    return x + (x.detach().clamp(low, high) - x.detach())


def masked_logsumexp(x: Tensor, mask: Tensor, dim: int = -1) -> Tensor:
    """Logarithm of the sum of exponentials over the entries whose mask is True.

    Args:
        x: Any shape.
        mask: Broadcastable to it, bool; True counts.
        dim: The axis that is summed over.

    Returns:
        The shape of ``x`` without that axis. Over no entry at all it is a large negative finite number, not
        minus infinity, so that differences of two results and their gradients are always finite.
    """
    return torch.logsumexp(x.masked_fill(~mask, torch.finfo(x.dtype).min / 8), dim)


def mean_where(values: Tensor, there: Tensor) -> Tensor:
    """Mean of the entries that are there, a scalar; 0 if none is."""
    return torch.where(there, values, 0.0).sum() / there.sum().clamp(min=1)


def negative_log_share(positive: Tensor, negative: Tensor, eps: float = 0.0) -> Tensor:
    """``-log(P / (P + N) + eps)`` from ``log P`` and ``log N``.

    Args:
        positive: ``log P``, any shape.
        negative: ``log N``, the same shape.
        eps: Added to the ratio. 0 is exact in log space at any size of the loss. CFCML's public code has 1e-8, which
            caps a term at 18.4 and cuts its gradient there.

    Returns:
        The same shape; not negative if ``eps`` is 0.
    """
    if eps == 0.0:
        difference = negative - positive
        return torch.logaddexp(difference, difference.new_zeros(()))
    return -torch.log(torch.sigmoid(positive - negative) + eps)


def contrast(
    anchors: Tensor,
    candidates: Tensor,
    positive: Tensor,
    negative: Tensor,
    temperature: float | Tensor,
    *,
    eps: float = 0.0,
) -> Tensor:
    """Negative log share of the similarity that falls on the positives.

    ``-log(P / (P + N) + eps)`` with ``P`` and ``N`` the sums of ``exp(cosine / temperature)`` over the positives and
    the negatives of an anchor. The positives are summed inside the logarithm (CFCML, arXiv 2603.20016, HRM).

    Args:
        anchors: Shape ``(..., a, d)``; normalised inside.
        candidates: Shape ``(..., c, d)``; normalised inside.
        positive: Shape ``(..., a, c)``, bool; True pulls.
        negative: Shape ``(..., a, c)``, bool; True pushes. A pair that is neither is ignored.
        temperature: Divides the cosine similarity; positive.
        eps: Added to the share inside the logarithm; see :func:`negative_log_share`.

    Returns:
        One loss per anchor, shape ``(..., a)``; zero for an anchor without a positive or without a negative.

    Raises:
        ValueError: If temperature is not positive, or the shapes do not fit.
    """
    check_temperature(temperature)
    pairs = (anchors.shape[-2], candidates.shape[-2])
    if anchors.shape[-1] != candidates.shape[-1]:
        raise ValueError(
            f"anchors and candidates must be of one width, got {tuple(anchors.shape)} and {tuple(candidates.shape)}"
        )
    for name, mask in (("positive", positive), ("negative", negative)):
        if mask.dtype != torch.bool or mask.shape[-2:] != pairs:
            raise ValueError(
                f"{name} must be bool of shape (..., {pairs[0]}, {pairs[1]}), got {mask.dtype} {tuple(mask.shape)}"
            )
    with without_autocast(anchors):
        similarity = unit(full_precision(anchors)) @ unit(full_precision(candidates)).mT / temperature
        return contrast_from_similarity(similarity, positive, negative, eps=eps)


def contrast_from_similarity(similarity: Tensor, positive: Tensor, negative: Tensor, *, eps: float = 0.0) -> Tensor:
    """:func:`contrast` from the similarities over the temperature, shape ``(..., a, c)``."""
    loss = negative_log_share(masked_logsumexp(similarity, positive), masked_logsumexp(similarity, negative), eps)
    return torch.where(positive.any(-1) & negative.any(-1), loss, 0.0)


def check_temperature(temperature: float | Tensor) -> None:
    """Refuse a temperature that is not positive. A tensor is a learned one, positive by construction.

    Raises:
        ValueError: If it is a number that is not positive.
    """
    if not isinstance(temperature, Tensor) and not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
