"""Tests whether two samples of independent cases have one distribution: numbers, levels, vectors."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmfusion.metrics.ranking import Floats
from mmfusion.utils.optional import need

N_DRAWN = 9999
"""Tables drawn where cells are too few for the chi-squared distribution."""
N_PERMUTATIONS = 4999
"""Permutations of an energy test."""
MOST = 1000
"""Vectors of a sample that an energy test looks at, at most; more are thinned at random."""

_LEAST_EXPECTED = 5.0
_NOTHING = (np.nan, np.nan)


class TwoSample(NamedTuple):
    """A test of two samples.

    Attributes:
        effect: How far the distributions are apart, from 0 to 1; NaN where a sample is empty.
        p: Probability of such a distance between samples of one distribution; NaN where there is no test.
    """

    effect: float
    p: float


def numbers_differ(first: ArrayLike, second: ArrayLike) -> TwoSample:
    """Kolmogorov and Smirnov's test.

    Args:
        first: Shape ``(n,)``; NaN is left out.
        second: Shape ``(m,)``.

    Returns:
        The largest difference of the distribution functions, and its probability.
    """
    one, other = (x[~np.isnan(x)] for x in (np.asarray(first, dtype=float), np.asarray(second, dtype=float)))
    if not len(one) or not len(other):
        return TwoSample(*_NOTHING)
    found = need("scipy.stats", "bench").ks_2samp(one, other)
    return TwoSample(float(found.statistic), float(found.pvalue))


def levels_differ(first: ArrayLike, second: ArrayLike, *, seed: int = 0) -> TwoSample:
    """The chi-squared test of counts; with few cases by drawing tables of the same margins.

    Args:
        first: Shape ``(k,)``, cases of each level.
        second: Shape ``(k,)``.
        seed: Of the drawing.

    Returns:
        Half the sum of the shares' differences (total variation), and the probability.
    """
    counts: NDArray[np.int64] = np.stack([np.asarray(first), np.asarray(second)]).astype(np.int64)
    counts = counts[:, counts.sum(axis=0) > 0]
    sizes = counts.sum(axis=1)
    if not sizes.all():
        return TwoSample(*_NOTHING)
    effect = float(np.abs(counts[0] / sizes[0] - counts[1] / sizes[1]).sum() / 2)
    if counts.shape[1] < 2:
        return TwoSample(effect, 1.0)
    levels = counts.sum(axis=0)
    expected = np.outer(sizes, levels) / sizes.sum()
    statistic = ((counts - expected) ** 2 / expected).sum()
    if expected.min() >= _LEAST_EXPECTED:
        return TwoSample(effect, float(need("scipy.stats", "bench").chi2.sf(statistic, len(levels) - 1)))
    drawn = np.random.default_rng(seed).multivariate_hypergeometric(levels, int(sizes[0]), N_DRAWN, method="marginals")
    # The second row is what is left, so that its deviations are those of the first.
    of_drawn = ((drawn - expected[0]) ** 2 * (1 / expected[0] + 1 / expected[1])).sum(axis=1)
    return TwoSample(effect, float((1 + (of_drawn >= statistic * (1 - 1e-9)).sum()) / (1 + N_DRAWN)))


def vectors_differ(first: Floats, second: Floats, *, seed: int = 0) -> TwoSample:
    """The energy test of vectors (Székely and Rizzo, Journal of Statistical Planning and Inference 143:1249, 2013), by
    permutation, after each dimension was brought to the same spread.

    Args:
        first: Shape ``(n, d)``, finite.
        second: Shape ``(m, d)``.
        seed: Of thinning and permutations.

    Returns:
        The energy coefficient, which is 0 for equal distributions and 1 for distributions without spread, and the
        probability. NaN where a sample has fewer than two vectors.
    """
    generator = np.random.default_rng(seed)
    one, other = (
        x if len(x) <= MOST else x[np.sort(generator.choice(len(x), MOST, replace=False))] for x in (first, second)
    )
    if len(one) < 2 or len(other) < 2:
        return TwoSample(*_NOTHING)
    both = np.concatenate([one, other]).astype(np.float64)
    spread = both.std(axis=0)
    both = both[:, spread > 1e-12] / spread[spread > 1e-12]
    if not both.shape[1]:
        return TwoSample(0.0, 1.0)
    distances = need("scipy.spatial.distance", "bench").squareform(need("scipy.spatial.distance", "bench").pdist(both))
    n, m = len(one), len(other)
    weights = np.concatenate([np.full(n, 1 / n), np.full(m, -1 / m)])
    drawn = np.stack([weights, *(generator.permutation(weights) for _ in range(N_PERMUTATIONS))], axis=1)
    energies = -(drawn * (distances @ drawn)).sum(axis=0)
    between = 2 * float(distances[:n, n:].mean())
    effect = float(energies[0] / between) if between > 0 else 0.0
    return TwoSample(max(effect, 0.0), float((energies >= energies[0] * (1 - 1e-9)).mean()))
