"""Methods over several datasets: mean ranks, critical difference, and the Bayesian signed-rank test.

The sources are Demsar, JMLR 7:1, 2006, and Benavoli et al., JMLR 18:77, 2017. A dataset counts once, by a method's mean
there, whatever its number of cases and seeds.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mmfusion.metrics.ranking import Floats
from mmfusion.utils.optional import need

PRIOR_STRENGTH = 0.5
"""Weight of the prior's single observation, a difference of 0; each dataset has the weight 1."""
_BLOCK = 1_000


class SignedRank(NamedTuple):
    """Posterior probabilities for another dataset of the same kind; they add up to 1.

    Attributes:
        worse: The method is worse by more than the margin.
        equal: The two differ by the margin at most.
        better: The method is better by more than the margin.
    """

    worse: float
    equal: float
    better: float


def ranks_within(scores: ArrayLike, *, lower_is_better: bool = False) -> Floats:
    """Rank of each method within each dataset; ties have the mean of their ranks.

    Args:
        scores: Shape ``(n_datasets, m)``, finite.
        lower_is_better: Whether the lowest score has rank 1.

    Returns:
        Shape ``(n_datasets, m)``, from 1 to m.

    Raises:
        ValueError: If a score is not finite or the shape is not two-dimensional.
    """
    from_scores = _finite("ranks_within", scores, 2)
    rank = need("scipy.stats", "bench").rankdata
    ranked: Floats = rank(from_scores if lower_is_better else -from_scores, axis=1).astype(np.float64)
    return ranked


def critical_difference(n_methods: int, n_datasets: int, *, level: float = 0.95) -> float:
    """Nemenyi's critical difference of mean ranks (Demsar 2006, section 3.2.2).

    Two of the methods are significantly different if their mean ranks differ by at least that much.

    Args:
        n_methods: At least 2.
        n_datasets: At least 1.
        level: 1 less the family-wise error, in (0, 1).

    Raises:
        ValueError: If there are too few methods or datasets.
    """
    if n_methods < 2 or n_datasets < 1:
        raise ValueError(f"critical_difference expects 2 methods and a dataset, got {n_methods} and {n_datasets}")
    studentized = need("scipy.stats", "bench").studentized_range
    quantile = float(studentized.ppf(level, n_methods, np.inf)) / math.sqrt(2)
    return quantile * math.sqrt(n_methods * (n_methods + 1) / (6 * n_datasets))


def signed_rank(differences: ArrayLike, margin: float, *, n_samples: int = 50_000, seed: int = 0) -> SignedRank:
    """Bayesian signed-rank test with a region of practical equivalence (Benavoli et al. 2017, section 4.2).

    Weights of the datasets and of the prior's observation follow a Dirichlet distribution; a sample of them decides for
    the region with the largest weight among the means of two observations.

    Args:
        differences: Shape ``(n_datasets,)``, finite, positive where the method is better than the other.
        margin: Half the width of the region in which methods count as equal, at least 0.
        n_samples: Number of samples; the Monte Carlo error of a probability is at most ``0.5 / sqrt(n_samples)``.
        seed: Of the samples.

    Raises:
        ValueError: If a difference is not finite, there is none, or the margin is negative.
    """
    found = _finite("signed_rank", differences, 1)
    if not (len(found) and margin >= 0 and math.isfinite(margin)):
        raise ValueError(f"signed_rank expects differences and a margin of at least 0, got {len(found)} and {margin}")
    observed = np.array([0.0, *found])
    means = (observed[:, None] + observed) / 2
    regions = np.stack([means < -margin, abs(means) <= margin, means > margin]).astype(np.float64)
    rng, wins = np.random.default_rng(seed), np.zeros(3)
    for start in range(0, n_samples, _BLOCK):
        size = min(_BLOCK, n_samples - start)
        weights = rng.dirichlet([PRIOR_STRENGTH, *np.ones(len(found))], size)
        shares = np.einsum("si,rij,sj->sr", weights, regions, weights)
        best = shares == shares.max(axis=1, keepdims=True)
        wins += (best / best.sum(axis=1, keepdims=True)).sum(axis=0)
    worse, equal, better = (wins / n_samples).tolist()
    return SignedRank(worse, equal, better)


def _finite(what: str, values: ArrayLike, ndim: int) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != ndim or not np.isfinite(array).all():
        raise ValueError(f"{what} expects finite numbers of {ndim} dimensions, got {array.ndim}: {values!r:.80}")
    return array
