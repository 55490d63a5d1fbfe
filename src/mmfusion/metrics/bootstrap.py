"""A stratified bootstrap of patients or lesions: weights of the cases, and percentiles."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmfusion.metrics.classification import BLOCK
from mmfusion.metrics.ranking import Floats
from mmfusion.metrics.two_sources import LEAST_DEFINED

N_RESAMPLES = 2000


def resample(
    labels: ArrayLike, groups: Sequence[str] | None = None, *, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> Iterator[Floats]:
    """Weights of the cases in each resample of a stratified bootstrap.

    Groups are drawn with replacement, as many in each class as there are; all cases of a group come and go together.
    A group with cases of several classes counts to the one it has most of (the lower index of equals).

    Args:
        labels: Shape ``(n,)``, class indices.
        groups: The patient or lesion of each case; None: each case by itself.
        n_resamples: How many.
        seed: The same seed gives the same resamples, on every machine.

    Yields:
        Blocks of shape ``(r, n)``, how often each case was drawn; their ``r`` sum to ``n_resamples``.

    Raises:
        ValueError: If there is not one group per case.
    """
    y = np.asarray(labels, dtype=np.int64)
    names = np.arange(len(y)).astype(str) if groups is None else np.asarray(groups, dtype=str)
    if names.shape != y.shape:
        raise ValueError(f"resample expects one group per case, got {len(names)} groups and {len(y)} cases")
    _, group = np.unique(names, return_inverse=True)
    votes: NDArray[np.int64] = np.zeros((group.max() + 1, y.max() + 1), dtype=np.int64)
    np.add.at(votes, (group, y), 1)
    stratum = votes.argmax(axis=1)
    strata = [np.flatnonzero(stratum == s) for s in np.unique(stratum)]
    # A generator for each class: what is drawn does not depend on the size of the blocks.
    generators = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(len(strata))]
    block = max(1, BLOCK // len(y))
    for start in range(0, n_resamples, block):
        rows = min(block, n_resamples - start)
        drawn = np.zeros((rows, len(votes)))
        for members, generator in zip(strata, generators):
            m = len(members)
            picks = generator.integers(m, size=(rows, m)) + np.arange(rows)[:, None] * m
            drawn[:, members] = np.bincount(picks.ravel(), minlength=rows * m).reshape(rows, m)
        yield drawn[:, group]


def percentiles(replicates: Floats, level: float = 0.95) -> tuple[float, float, float]:
    """Percentile interval and standard deviation of the replicates that are finite.

    Args:
        replicates: Shape ``(r,)``.
        level: Coverage of the interval, in (0, 1).

    Returns:
        All NaN where less than :data:`LEAST_DEFINED` of the replicates are finite: what is left would be of the
        resamples that happen to suit.
    """
    defined = replicates[np.isfinite(replicates)]
    if not len(defined) or len(defined) < LEAST_DEFINED * len(replicates):
        return np.nan, np.nan, np.nan
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high), float(defined.std())
