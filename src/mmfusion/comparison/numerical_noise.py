"""Numerical noise: spread of results over repeats of one seed, beside that over seeds.

Repeats of a seed have the same data and order, and start from weights that differ by rounding alone (``run.repeat``).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, variance


@dataclass(frozen=True)
class Spread:
    """Spread of one metric of one method.

    Attributes:
        mean: Over the seeds, of the runs from unperturbed starts; NaN if there is none.
        within: Standard deviation over the repeats of a seed, pooled over seeds; NaN if no seed has two.
        over: Standard deviation over the seeds, of the runs from unperturbed starts, pooled over folds; NaN if no fold
            has two seeds.
    """

    mean: float
    within: float
    over: float


@dataclass(frozen=True)
class Noise:
    """Spread of the AUC of one method.

    Attributes:
        starts: Starts of a seed, its own included; the most that any seed has.
        seeds: Seeds, of all folds, that have repeats.
        validation: Of the validation set.
        test: Of the test set.
    """

    starts: int
    seeds: int
    validation: Spread
    test: Spread


def noise(aucs: Mapping[tuple[int, int], Sequence[tuple[float, float]]]) -> Noise | None:
    """Spread of a method's AUCs; None if no seed has repeats.

    Args:
        aucs: By fold and seed, the AUC on validation and on test of each start, the seed's own first.
    """
    repeated = [len(starts) for starts in aucs.values() if len(starts) > 1]
    if not repeated:
        return None
    by_fold: dict[int, list[Sequence[tuple[float, float]]]] = {}
    for (fold, _), starts in aucs.items():
        by_fold.setdefault(fold, []).append(starts)
    validation, test = (
        spread([[auc[which] for auc in starts] for starts in seeds] for seeds in by_fold.values()) for which in (0, 1)
    )
    return Noise(max(repeated), len(repeated), validation, test)


def spread(folds: Iterable[Sequence[Sequence[float]]]) -> Spread:
    """Spread over repeats and over seeds.

    Args:
        folds: By fold and seed, the values of a seed's repeats, that of the unperturbed start first. NaN, an undefined
            metric, is left out.
    """
    by_seed, by_fold = [], []
    for seeds in folds:
        by_seed += [_defined(repeats) for repeats in seeds]
        by_fold.append(_defined([repeats[0] for repeats in seeds if repeats]))
    firsts = [value for values in by_fold for value in values]
    return Spread(fmean(firsts) if firsts else math.nan, pooled_sd(by_seed), pooled_sd(by_fold))


def pooled_sd(samples: Iterable[Sequence[float]]) -> float:
    """Standard deviation within samples: the root of their variances' mean, weighted by degrees of freedom.

    Args:
        samples: Those of one value say nothing.

    Returns:
        NaN if there is no sample of two values.
    """
    several = [sample for sample in samples if len(sample) > 1]
    degrees = sum(len(sample) - 1 for sample in several)
    return math.sqrt(sum((len(sample) - 1) * variance(sample) for sample in several) / degrees) if degrees else math.nan


def _defined(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]
