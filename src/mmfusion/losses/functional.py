"""Formulas that losses share, as functions of tensors, and the checks of their numbers.

Contrast works on directions: an embedding is divided by its length first. Half precision is computed in float32, inside
or outside autocast, because a sum of exponentials of cosines over a temperature of 0.07 spans twelve decades; float64
stays float64.
"""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from mmfusion.layers.directions import unit
from mmfusion.option_checks import checked
from mmfusion.utils.precision import full_precision, without_autocast
from mmfusion.utils.tensor_checks import require

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def formula(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """A decorator for the formula of a loss, whose options are checked against their declared ranges.

    ``torch.compile``, which does not see through the checks, compiles the formula alone.
    """
    guarded = checked(function)

    @functools.wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        return function(*args, **kwargs) if torch.compiler.is_compiling() else guarded(*args, **kwargs)

    return call


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


def mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the entries whose mask is True, a scalar; 0 without one."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)


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
    candidates: Tensor | tuple[Tensor, Tensor],
    positive: Tensor,
    negative: Tensor,
    temperature: float | Tensor,
    *,
    eps: float = 0.0,
    normalize: bool = True,
) -> Tensor:
    """Negative log share of the similarity that falls on the positives.

    ``-log(P / (P + N) + eps)`` with ``P`` and ``N`` the sums of ``exp(cosine / temperature)`` over the positives and
    the negatives of an anchor. The positives are summed inside the logarithm (CFCML, arXiv 2603.20016, HRM).

    Args:
        anchors: Shape ``(..., a, d)``.
        candidates: Shape ``(..., c, d)``; or two sets, one for the positives and one for the negatives, each as large
            as its mask is wide.
        positive: Shape ``(..., a, c)``, bool; True attracts.
        negative: Shape ``(..., a, c)``, bool; True repels. A pair that is neither is ignored.
        temperature: Divides the cosine similarity; positive.
        eps: Added to the share inside the logarithm; see :func:`negative_log_share`.
        normalize: Divide anchors and candidates by their lengths first; False where they are directions already.

    Returns:
        One loss per anchor, shape ``(..., a)``; zero for an anchor without a positive or without a negative.

    Raises:
        ValueError: If temperature is not positive, or the shapes do not fit.
    """
    check_temperature(temperature)
    sets = [candidates] if isinstance(candidates, Tensor) else list(candidates)
    masks = {"positive": (sets[0], positive), "negative": (sets[-1], negative)}
    for name, (candidate, mask) in masks.items():
        if anchors.shape[-1] != candidate.shape[-1]:
            raise ValueError(
                f"anchors and candidates must be of one width, got {tuple(anchors.shape)} and {tuple(candidate.shape)}"
            )
        require(name, mask, torch.bool, "...", anchors.shape[-2], candidate.shape[-2])
    if normalize:
        anchors = unit(full_precision(anchors))
        sets = [unit(full_precision(x)) for x in sets]
    with without_autocast(anchors):
        scaled = anchors / temperature
        similarities = [scaled @ x.mT for x in sets]
        return contrast_from_similarity(similarities[0], positive, negative, similarities[-1], eps=eps)


def contrast_from_similarity(
    similarity: Tensor, positive: Tensor, negative: Tensor, to_negatives: Tensor | None = None, *, eps: float = 0.0
) -> Tensor:
    """:func:`contrast` from the similarities over the temperature, shape ``(..., a, c)``."""
    to_negatives = similarity if to_negatives is None else to_negatives
    loss = negative_log_share(masked_logsumexp(similarity, positive), masked_logsumexp(to_negatives, negative), eps)
    return torch.where(positive.any(-1) & negative.any(-1), loss, 0.0)


def check_temperature(temperature: float | Tensor) -> None:
    """Raise an error for a temperature that is not positive. A tensor is a learned one, positive by construction.

    Raises:
        ValueError: If it is a number that is not positive.
    """
    if not isinstance(temperature, Tensor) and not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
