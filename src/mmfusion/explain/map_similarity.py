"""Likeness of two heat maps: rank correlation and structural similarity."""

import torch
import torch.nn.functional as F
from torch import Tensor


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's correlation over the positions, equal values with their mean rank.

    Args:
        first: Shape ``(b, *size)``.
        second: Likewise.

    Returns:
        Shape ``(b,)`` float64 in [-1, 1]. Two constant maps are alike, 1; a constant one and another are not, 0.
    """
    one, other = (torch.stack([_mean_ranks(x) for x in maps.flatten(1)]) for maps in (first, second))
    one, other = one - one.mean(1, keepdim=True), other - other.mean(1, keepdim=True)
    norms = one.norm(dim=1) * other.norm(dim=1)
    constant = (~one.any(1) & ~other.any(1)).double()
    return torch.where(norms > 0, (one * other).sum(1) / norms.where(norms > 0, 1.0), constant).clamp(-1, 1)


def structural_similarity(first: Tensor, second: Tensor, window: int = 7) -> Tensor:
    """SSIM (Wang et al., 2004) of maps scaled to a maximum of 1, with equal weights in each window.

    Args:
        first: Shape ``(b, *size)``, 2D or 3D, not negative.
        second: Likewise.
        window: Positions of a window along each axis; as many as there are along a shorter one.

    Returns:
        Shape ``(b,)`` float64, at most 1.
    """
    one, other = (x.double() / _highest(x.double()).where(_highest(x) > 0, 1.0) for x in (first, second))
    sides = tuple(min(window, n) for n in first.shape[1:])
    pool = F.avg_pool2d if len(sides) == 2 else F.avg_pool3d

    def mean(x: Tensor) -> Tensor:
        averaged: Tensor = pool(x.unsqueeze(1), sides, stride=1)
        return averaged.flatten(1)

    m1, m2 = mean(one), mean(other)
    v1, v2, both = mean(one * one) - m1 * m1, mean(other * other) - m2 * m2, mean(one * other) - m1 * m2
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * m1 * m2 + c1) * (2 * both + c2) / ((m1 * m1 + m2 * m2 + c1) * (v1 + v2 + c2))
    return similarity.mean(1)


def _mean_ranks(x: Tensor) -> Tensor:
    sorted_values = x.double().sort().values
    below, up_to = (torch.searchsorted(sorted_values, x.double(), right=right) for right in (False, True))
    return (below + up_to + 1).double() / 2


def _highest(x: Tensor) -> Tensor:
    return x.amax(tuple(range(1, x.ndim)), keepdim=True)
