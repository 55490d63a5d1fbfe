"""Products of means without bias, for many weightings of groups of cases at once."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmfusion.metrics.ranking import Floats, divide

LEAST_SQUARE = 1e-12
"""Below it a square, or a variance, of directions is 0 up to rounding."""


class GroupSums(NamedTuple):
    """Sums over the cases of each group, ``(g, d)``, and how many these are, ``(g,)``."""

    sums: Floats
    counts: Floats

    @classmethod
    def of(cls, x: Floats, group: NDArray[np.intp], n_groups: int) -> "GroupSums":
        """From cases ``(n, d)`` and the group of each, ``(n,)``."""
        sums = np.zeros((n_groups, x.shape[1]))
        np.add.at(sums, group, x)
        return cls(sums, np.bincount(group, minlength=n_groups).astype(np.float64))


def n_pairs(weights: Floats, counts: Floats) -> Floats:
    """How many pairs of cases of different groups there are, ``(r,)``."""
    return (weights @ counts) ** 2 - weights**2 @ counts**2


def product_of_means(weights: Floats, x: GroupSums, y: GroupSums) -> Floats:
    """Product of two means without bias: the mean of products over pairs of cases of different groups.

    The product of two sample means has the cases' products with themselves in it, which makes a square too large. A
    group that is drawn twice is no pair with itself.

    Args:
        weights: Shape ``(r, g)``, how often each group was drawn.
        x: Of the first factor.
        y: Of the second factor, of the same cases.

    Returns:
        Shape ``(r,)``; NaN without a pair.
    """
    every = ((weights @ x.sums) * (weights @ y.sums)).sum(axis=1)
    return divide(every - weights**2 @ (x.sums * y.sums).sum(axis=1), n_pairs(weights, x.counts))


def direction_distance(weights: Floats, x: GroupSums, y: GroupSums) -> Floats:
    """Distance of the directions of two means, ``(r,)``; NaN where one of them has none, as far as the cases tell."""
    lengths = product_of_means(weights, x, x), product_of_means(weights, y, y)
    defined = (lengths[0] > LEAST_SQUARE) & (lengths[1] > LEAST_SQUARE)
    length = np.sqrt(np.where(defined, lengths[0] * lengths[1], 0))
    cosine = np.clip(divide(product_of_means(weights, x, y), length), -1, 1)
    return np.sqrt(2 - 2 * cosine)
