"""Intervals where a class has few cases: AUC by DeLong's components, recalls by Wilson's interval.

A bootstrap of ten positives sees too few of them: its percentile interval of the AUC covers 80 to 90% where 95% are
meant. The study ``benchmarks/studies/coverage.py`` has what these cover.
"""

import math
from typing import NamedTuple

import numpy as np

from mmfusion.metrics.cases import TestCases
from mmfusion.metrics.paired_tests import structural_components
from mmfusion.metrics.ranking import Floats
from mmfusion.utils.optional import need

PULL, MOST = 1 / 3, 1.5
"""How far the variance is drawn towards Hanley and McNeil's where that is greater, and the most that it is raised."""


class CaseVariance(NamedTuple):
    """Case variances of several runs' AUC.

    Attributes:
        of_mean: Of the mean over the runs.
        of_single: Mean over the runs of that of each.
        degrees: Degrees of freedom.
    """

    of_mean: float
    of_single: float
    degrees: float


def auc_variance(probabilities: Floats, cases: TestCases) -> CaseVariance:
    """Case variance of the AUC, binary or macro one-versus-rest, by DeLong's structural components.

    Groups of cases enter by the sums of their components (Obuchowski, Biometrics 53:567, 1997); the degrees of freedom
    are Welch and Satterthwaite's over the classes. DeLong's variance rests on a few wrong pairs where the AUC is high,
    and is often far too small: where Hanley and McNeil's (Radiology 143:29, 1982) is greater it is drawn a third of the
    way towards that, at most by half of itself.

    Args:
        probabilities: Shape ``(s, n, k)``, of ``s`` runs on the same cases.
        cases: The cases.

    Returns:
        All NaN where a class that has cases has fewer than two groups, or only one class has cases.
    """
    y, k = cases.labels, cases.n_classes
    present = [c for c in range(k) if cases.cases_of_class[c]]
    if len(present) < 2 or cases.smallest < 2:
        return CaseVariance(math.nan, math.nan, math.nan)
    positives = [1] if k == 2 else present
    influence = np.zeros(probabilities.shape[:2])
    by_delong, by_hanley = 0.0, 0.0
    for c in positives:
        positive = y == c
        n1, n0 = int(positive.sum()), int((~positive).sum())
        above, below = structural_components(probabilities[:, :, c], positive)
        auc = above.mean(axis=1)
        influence[:, positive] += (above - auc[:, None]) / n1 / len(positives)
        influence[:, ~positive] += (below - auc[:, None]) / n0 / len(positives)
        # One case of a class: its component is the AUC itself, and tells nothing of its variance.
        by_delong += float(np.mean(above.var(axis=1) / max(n1 - 1, 1) + below.var(axis=1) / max(n0 - 1, 1)))
        by_hanley += float(np.mean(hanley_mcneil(auc, n1, n0)))
    sums = _sums(influence, cases, present)
    of_mean, degrees = _variance(sums.mean(axis=0), cases, present)
    of_single = float(np.mean([_variance(of_run, cases, present)[0] for of_run in sums]))
    raised = 1.0
    if 0 < by_delong < by_hanley:
        raised = min(MOST, 1 + PULL * (by_hanley / by_delong - 1))
    return CaseVariance(raised * of_mean, raised * of_single, degrees)


def _sums(influence: Floats, cases: TestCases, present: list[int]) -> Floats:
    """Sums of the components by class and group, shape ``(s, classes, groups)``, about the mean of each class."""
    out = np.zeros((len(influence), len(present), cases.n_groups))
    for i, c in enumerate(present):
        members = cases.labels == c
        own = influence[:, members] - influence[:, members].mean(axis=1, keepdims=True)
        for row, values in enumerate(own):
            out[row, i] = np.bincount(cases.groups[members], values, minlength=cases.n_groups)
    return out


def _variance(sums: Floats, cases: TestCases, present: list[int]) -> tuple[float, float]:
    m = cases.groups_of_class[present].astype(np.float64)
    squares = (sums**2).sum(axis=1) * m / (m - 1)
    together = float((sums.sum(axis=0) ** 2).sum() - (sums**2).sum())
    total = max(float(squares.sum()) + together, 0.0)
    spread = float((squares**2 / (m - 1)).sum())
    return total, float(squares.sum()) ** 2 / spread if spread > 0 else float(m.min()) - 1


def hanley_mcneil(auc: Floats, n1: int, n0: int) -> Floats:
    """Variance of an AUC from its value alone, with the mean of both sizes in place of each (Newcombe, method 5)."""
    middle = (n1 + n0) / 2 - 1
    variance: Floats = auc * (1 - auc) * (1 + middle * (1 - auc) / (2 - auc) + middle * auc / (1 + auc)) / (n1 * n0)
    return variance


def newcombe(auc: float, n1: int, n0: int, *, level: float = 0.95) -> tuple[float, float]:
    """Score interval of an AUC (Newcombe, Statistics in Medicine 25:559, 2006, method 5); it exists at 0 and 1 too.

    Args:
        auc: The area.
        n1: Positives (groups of them).
        n0: Negatives.
        level: Coverage, in (0, 1).
    """
    z = float(need("scipy.stats", "bench").norm.ppf((1 + level) / 2))
    root = need("scipy.optimize", "bench").brentq

    def end(limit: float) -> float:
        if auc == limit:
            return limit

        def gap(t: float) -> float:
            return abs(auc - t) - z * float(np.sqrt(hanley_mcneil(np.asarray(t, dtype=np.float64), n1, n0)))

        # At the limit the variance is 0 and the gap positive; at the value itself it is the other way about.
        start = auc + (limit - auc) * 1e-12
        return limit if gap(start) >= 0 else float(root(gap, start, limit))

    return end(0.0), end(1.0)


def wilson(share: float, n: float, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share of ``n`` cases, which need not be a whole number (JASA 22:209, 1927).

    Args:
        share: In [0, 1].
        n: Cases, or as many independent ones as they are worth; positive.
        level: Coverage, in (0, 1).

    Raises:
        ValueError: If the share or the number is out of range.
    """
    if not (0 <= share <= 1 and n > 0):
        raise ValueError(f"wilson expects a share in [0, 1] of a positive number of cases, got {share} of {n}")
    z = float(need("scipy.stats", "bench").norm.ppf((1 + level) / 2))
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    # Rounding would leave a share of 0 or 1 just outside.
    return min(max(middle - reach, 0.0), share), max(min(middle + reach, 1.0), share)
