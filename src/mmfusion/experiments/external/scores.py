"""Metrics of cases at a run's threshold and temperature, with intervals; subgroups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.schema.subgroups import UNKNOWN, in_order
from mmfusion.experiments.locked import Locked
from mmfusion.metrics.calibration import fit_temperature
from mmfusion.metrics.classification import n_not_finite
from mmfusion.metrics.conformal import SetCoverage, prediction_sets, set_coverage
from mmfusion.metrics.curves import GRID, risk_coverage_curve
from mmfusion.metrics.intervals import Estimate, calibration_estimates, estimates
from mmfusion.metrics.ranking import Floats
from mmfusion.metrics.recalibration import Recalibration, recalibration
from mmfusion.metrics.shared_classes import shared_classes

_OF_PROBABILITIES = ("auc", "average_precision", "brier", "ece", "log_loss")
COVERAGES = (1.0, 0.9, 0.8, 0.5)
"""Shares of the cases whose risk is given."""
N_SUBGROUPS = 1000
"""Resamples for the intervals of a subgroup, at most."""


@dataclass(frozen=True)
class LabelledCases:
    """Cases with labels and a model's output.

    Attributes:
        labels: Shape ``(n,)``, class indices.
        groups: Patient or lesion of each.
        probabilities: Shape ``(n, k)``, not scaled.
    """

    labels: NDArray[np.int64]
    groups: tuple[str, ...]
    probabilities: Floats

    def take(self, rows: NDArray[np.intp]) -> "LabelledCases":
        """Some of them."""
        return LabelledCases(self.labels[rows], tuple(self.groups[row] for row in rows), self.probabilities[rows])


@dataclass(frozen=True)
class Frequency:
    """How often a class occurs, and how often it was predicted to.

    Attributes:
        observed: Share of the cases.
        expected: Mean calibrated probability.
    """

    observed: float
    expected: float


@dataclass(frozen=True)
class Scores:
    """Metrics of some cases; nothing of them was fitted on these cases.

    Attributes:
        n_cases: Cases.
        n_groups: Patients or lesions.
        of_class: Cases by class.
        metrics: AUC and average precision of the probabilities; Brier score, ECE and log loss of them as they are; all
            others of the label at the locked threshold. Empty where they are undefined.
        calibrated: Brier score, ECE and log loss at the locked temperature; empty without one.
        recalibration: By class, intercept and slope of the probabilities at the locked temperature, or as they are
            without one; for two classes of the second one alone.
        frequency: By class, likewise.
        best_temperature: The temperature that these cases would choose, for comparison alone; NaN where undefined.
        risk: Share of wrong labels among the most confident cases, by the share of the cases that these are.
        mean_risk: Mean over all such shares, the area below the risk-coverage curve.
        sets: How the run's conformal sets do at 90%; None without calibration cases.
        not_finite: Cases for which the model's output is not finite; then nothing else is defined, since without them
            it would flatter.
    """

    n_cases: int
    n_groups: int
    of_class: Mapping[str, int]
    metrics: Mapping[str, Estimate] = field(default_factory=dict)
    calibrated: Mapping[str, Estimate] = field(default_factory=dict)
    recalibration: Mapping[str, Recalibration] = field(default_factory=dict)
    frequency: Mapping[str, Frequency] = field(default_factory=dict)
    best_temperature: float = float("nan")
    risk: Mapping[float, float] = field(default_factory=dict)
    mean_risk: float = float("nan")
    sets: SetCoverage | None = None
    not_finite: int = 0


def score(cases: LabelledCases, locked: Locked, classes: Sequence[str], *, n_resamples: int, seed: int) -> Scores:
    """All metrics.

    Args:
        cases: At least one.
        locked: Threshold and temperature.
        classes: Names, in order.
        n_resamples: Of the bootstrap; 0: no intervals.
        seed: Of the bootstrap.
    """
    y, p, groups = cases.labels, cases.probabilities, cases.groups
    counts = np.bincount(y, minlength=len(classes)).tolist()
    bare = Scores(len(y), len(set(groups)), dict(zip(classes, counts)), not_finite=n_not_finite(p))
    if bare.not_finite:
        return bare
    scaled = locked.calibrated(p)
    final = p if scaled is None else scaled
    of = [1] if len(classes) == 2 else range(len(classes))
    calibrated = {} if scaled is None else calibration_estimates(scaled, y, groups, n_resamples=n_resamples, seed=seed)
    risk, mean_risk = risk_coverage_curve(locked.confidence(p), locked.labels(p) != y, np.ones((len(y), 1)))
    return replace(
        bare,
        metrics=at_threshold(cases, locked, classes, n_resamples=n_resamples, seed=seed),
        calibrated=calibrated,
        recalibration={classes[c]: recalibration(final[:, c], y == c, groups) for c in of},
        frequency={classes[c]: Frequency(float((y == c).mean()), float(final[:, c].mean())) for c in of},
        best_temperature=fit_temperature(p, y),
        risk={coverage: float(risk[0, round(coverage * (len(GRID) - 1))]) for coverage in COVERAGES},
        mean_risk=mean_risk,
        sets=set_coverage(prediction_sets(p, locked.scores), y, groups, classes) if locked.scores else None,
    )


def at_threshold(
    cases: LabelledCases, locked: Locked, classes: Sequence[str], *, n_resamples: int, seed: int
) -> dict[str, Estimate]:
    """Every metric, those of a decision by the label that the run gives; arguments as of :func:`score`."""
    y, p, groups = cases.labels, cases.probabilities, cases.groups

    def judged(probabilities: Floats) -> dict[str, Estimate]:
        return estimates(probabilities, y, groups, names=classes, n_resamples=n_resamples, seed=seed)

    raw = judged(p)
    if len(classes) > 2 or locked.threshold is None:
        return raw
    # The definitions judge the likeliest class: that of these probabilities is the label.
    decided = judged(np.eye(2)[locked.labels(p)])
    return {name: raw[name] if name in _OF_PROBABILITIES else decided[name] for name in raw}


@dataclass(frozen=True)
class SubgroupScores:
    """A subgroup of the cases.

    Attributes:
        by: The property.
        value: Its value.
        n_cases: Cases with a label.
        n_groups: Patients or lesions.
        of_class: Cases by class.
        classes: On which the subgroups of the property are compared; empty if this one takes no part.
        metrics: As of :class:`Scores`, on these classes' cases; empty if it takes no part.
    """

    by: str
    value: str
    n_cases: int
    n_groups: int
    of_class: Mapping[str, int]
    classes: tuple[str, ...]
    metrics: Mapping[str, Estimate]


def score_subgroups(
    cases: LabelledCases,
    values: Mapping[str, Sequence[str]],
    locked: Locked,
    classes: Sequence[str],
    *,
    n_resamples: int,
    seed: int,
) -> tuple[SubgroupScores, ...]:
    """Metrics of subgroups, on the classes that all subgroups of a property have.

    Args:
        cases: With a finite output each.
        values: By property, that of each case.
        locked: As for :func:`score`.
        classes: Likewise.
        n_resamples: Likewise, at most :data:`N_SUBGROUPS`.
        seed: Likewise.
    """
    out = []
    for by, of_case in values.items():
        cells = np.asarray(of_case, dtype=object)
        rows = {value: np.flatnonzero(cells == value) for value in sorted(set(of_case), key=in_order)}
        counts = {value: np.bincount(cases.labels[of], minlength=len(classes)) for value, of in rows.items()}
        shared = shared_classes(counts, [UNKNOWN])
        for value, of in rows.items():
            members, metrics = cases.take(of), {}
            if value in shared.values:
                kept = members.take(np.flatnonzero(np.isin(members.labels, shared.classes)))
                some = min(n_resamples, N_SUBGROUPS)
                metrics = at_threshold(kept, locked, classes, n_resamples=some, seed=seed)
            names = tuple(classes[c] for c in shared.classes) if metrics else ()
            size = (len(of), len(set(members.groups)), dict(zip(classes, counts[value].tolist())))
            out.append(SubgroupScores(by, value, *size, names, metrics))
    return tuple(out)
