"""Scores of a method, as numbers: of its runs, of subgroups, without cells or modalities.

Every mean is over the runs of a method, that is its seeds and folds, and every interval is that of this mean. A number
that is undefined or unknown is NaN, anything else that is unknown is None.
"""

import dataclasses
from collections.abc import Mapping

from mmfusion.metrics.ranking import Floats


@dataclasses.dataclass(frozen=True)
class Score:
    """A metric of a method.

    Attributes:
        mean: Over the runs in which it is defined.
        sd: Standard deviation over the runs, with ``n - 1``; NaN for a single run.
        low: Lower end of the interval of the mean: of a single run for other test cases only, of several for other
            training runs too.
        high: Upper end.
        error: Standard error of the mean, from the same sources; NaN if it is unknown.
        points: Value of each run, in the order of :attr:`Method.runs`.
        reason: Why a defined mean has no interval; empty if it has one.
    """

    mean: float
    sd: float
    low: float
    high: float
    error: float
    points: tuple[float, ...]
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class RunPoint:
    """A run of a method.

    Attributes:
        folder: Its folder.
        seed: Its seed.
        fold: Fold of its test set, from 0.
        n_cases: Cases of its test set.
        threshold: On the probability of class 1, chosen on the validation set; None for more than two classes.
        temperature: Fitted on the validation set; None if neither its predictions nor a stored value are present.
    """

    folder: str
    seed: int
    fold: int
    n_cases: int
    threshold: float | None
    temperature: float | None


@dataclasses.dataclass(frozen=True)
class Subgroup:
    """Test cases that share a property.

    Attributes:
        by: The property, ``sex``.
        value: ``female``.
        n_cases: Different cases, over all folds.
        n_groups: Patients or lesions.
        of_class: Cases of each class, by its name.
        scores: By metric, on the cases of the classes of which every compared subgroup of the property has enough; all
            NaN for a subgroup that is not compared.
    """

    by: str
    value: str
    n_cases: int
    n_groups: int
    of_class: Mapping[str, int]
    scores: Mapping[str, Score]


@dataclasses.dataclass(frozen=True)
class Gap:
    """Best and worst subgroup of a property.

    Attributes:
        by: The property.
        classes: Names of the classes on which the subgroups are compared.
        worst: Value of the property of the worst subgroup.
        best: That of the best.
        difference: The best one's metric less the worst one's.
        low: Lower end of its interval, for these two subgroups; NaN if there is none.
        high: Upper end.
    """

    by: str
    classes: tuple[str, ...]
    worst: str
    best: str
    difference: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Degradation:
    """A metric by the share of missing cells.

    Attributes:
        metric: ``auc``.
        shares: Shape ``(g,)``, share of the present cells made missing, rising from 0.
        mean: Shape ``(g,)``, over the runs.
        low: Shape ``(g,)``, lower end of the interval of the mean, with both sources of error.
        high: Shape ``(g,)``.
        points: Shape ``(runs, g)``; a row of NaN for a run without it.
        area: Area under the curve divided by the width of ``shares``, in the range of the metric: [0, 1] for an AUC;
            its ends are the areas under ``low`` and ``high``.
    """

    metric: str
    shares: Floats
    mean: Floats
    low: Floats
    high: Floats
    points: Floats
    area: Score


@dataclasses.dataclass(frozen=True)
class Contribution:
    """AUC that a modality brings: the AUC of all modalities less that without it or with its rows permuted.

    Attributes:
        modality: Its name.
        kind: ``without`` or ``permuted``.
        left: The AUC without it or with its rows permuted.
        drop: Fall of the AUC; positive if the modality was useful.
    """

    modality: str
    kind: str
    left: Score
    drop: Score
