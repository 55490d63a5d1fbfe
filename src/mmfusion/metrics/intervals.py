"""Metrics of one model on one test set, each with its interval for other test cases."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from mmfusion.metrics.bootstrap import N_RESAMPLES, resample
from mmfusion.metrics.cases import TestCases
from mmfusion.metrics.classification import Prepared, PreparedCalibration, checked, reported
from mmfusion.metrics.definitions import keeping_classes
from mmfusion.metrics.ranking import Floats
from mmfusion.metrics.score_intervals import score_interval


class Estimate(NamedTuple):
    """A metric with its uncertainty over other test cases; NaN where it is undefined or there is none.

    Attributes:
        value: On the cases as they are.
        low: Lower end of the interval.
        high: Upper end.
        error: Standard error.
    """

    value: float
    low: float
    high: float
    error: float

    def to_dict(self) -> dict[str, float | None]:
        """For JSON; None where undefined."""
        return {name: reported(value) for name, value in self._asdict().items()}


class _Metrics(Protocol):
    def __call__(self, weights: Floats) -> dict[str, Floats]: ...

    def resampled(self, weights: Floats) -> dict[str, Floats]: ...


def estimates(
    probabilities: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[str] | None = None,
    *,
    threshold: float = 0.5,
    names: Sequence[str] = (),
    extra: Sequence[str] = (),
    n_resamples: int = N_RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Every metric with its interval for other test cases, by :mod:`mmfusion.metrics.score_intervals`.

    Args:
        probabilities: Shape ``(n, k)``.
        labels: Shape ``(n,)``.
        groups: As for :func:`~mmfusion.metrics.bootstrap.resample`.
        threshold: As for :func:`~mmfusion.metrics.classification.evaluate`.
        names: Names of the classes.
        extra: As for :func:`~mmfusion.metrics.classification.evaluate`.
        n_resamples: Resamples of the bootstrap; 0: there are no intervals.
        level: Coverage of the interval, in (0, 1).
        seed: Of the bootstrap.

    Returns:
        By metric. Another training run would differ too, which these intervals leave out. Resamples in which a metric
        is undefined are left out of its variance, and those that lost a class out of that of means over classes.
    """
    prepared = Prepared(probabilities, labels, threshold=threshold, names=names, extra=extra)
    return _estimates(prepared, probabilities, labels, groups, names, n_resamples, level, seed)


def calibration_estimates(
    probabilities: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[str] | None = None,
    *,
    n_resamples: int = N_RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Brier score, ECE and log loss alone, on the same resamples; arguments as of :func:`estimates`."""
    prepared = PreparedCalibration(probabilities, labels)
    return _estimates(prepared, probabilities, labels, groups, (), n_resamples, level, seed)


def _estimates(
    metrics: _Metrics,
    probabilities: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[str] | None,
    names: Sequence[str],
    n_resamples: int,
    level: float,
    seed: int,
) -> dict[str, Estimate]:
    p, y = checked(probabilities, labels)
    cases = TestCases.of(y, groups, p.shape[1], names)
    point = {name: float(value[0]) for name, value in metrics(np.ones((len(y), 1))).items()}
    blocks = [
        keeping_classes(metrics.resampled(np.ascontiguousarray(weights.T)), y, weights)
        for weights in resample(y, groups, n_resamples=n_resamples, seed=seed)
    ]
    out = {}
    for name, value in point.items():
        drawn = np.concatenate([block[name] for block in blocks])[None] if blocks and name in blocks[0] else None
        shown = [p] if blocks else []
        found = score_interval(name, [value], drawn, cases, shown, level=level)
        out[name] = Estimate(value, found.low, found.high, found.error)
    return out
