"""Scores of a method, as numbers: of its runs, of subgroups, without cells or modalities.

Every mean is over the runs of a method, that is its seeds and folds, and every interval is that of this mean. What is
undefined or unknown is NaN among numbers and None elsewhere.
"""

import dataclasses
from collections.abc import Mapping

from mmfusion.metrics.ranking import Floats


@dataclasses.dataclass(frozen=True)
class Score:
    """A metric of a method.

    Attributes:
        mean: Over the runs that define it.
        sd: Over the runs, with ``n - 1``; NaN for a single run.
        low: Lower end of the interval of the mean.
        high: Upper end.
        error: Standard error of the mean that the test cases alone cause; NaN where it is not known.
        points: Of each run, in the order of :attr:`Method.runs`.
    """

    mean: float
    sd: float
    low: float
    high: float
    error: float
    points: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class RunPoint:
    """A run of a method.

    Attributes:
        folder: Where it lies.
        seed: Its seed.
        fold: Whose test part it has, from 0.
        n_cases: Of its test part.
        threshold: On class 1, chosen on validation; None for more than two classes.
        temperature: Fitted on validation; None where neither the cases of validation nor a stored value are there.
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
        scores: By metric; all NaN where there is one class only.
    """

    by: str
    value: str
    n_cases: int
    n_groups: int
    of_class: Mapping[str, int]
    scores: Mapping[str, Score]


@dataclasses.dataclass(frozen=True)
class Degradation:
    """A metric as more and more cells of the tables are missing.

    Attributes:
        metric: ``auc``.
        shares: Shape ``(g,)``, of the present cells made missing, rising from 0.
        mean: Shape ``(g,)``, over the runs.
        low: Shape ``(g,)``, lower end of the interval of the mean: the runs' own are averaged over the seeds of a
            fold, and folds are independent.
        high: Shape ``(g,)``.
        points: Shape ``(runs, g)``; NaN rows for runs without it.
        area: Under the curve over the width of ``shares``, in the range of the metric: [0, 1] for an AUC; its ends are
            the areas under ``low`` and ``high``.
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
    """What a modality brings: the AUC of all less the AUC with it taken away or exchanged between cases.

    Attributes:
        modality: Its name.
        kind: ``without`` or ``permuted``.
        left: The AUC that is left.
        drop: By how much it fell; positive: the modality was of use.
        interval: Which one ``drop`` has. ``cases``: from the runs' own paired intervals of their test cases, whose
            ends are averaged over the seeds of a fold, and folds are independent. Where runs tell none: ``folds``,
            Nadeau and Bengio's on one drop a fold, the mean over its seeds (and ``mean`` is over these); ``seeds``,
            Student's over the seeds of one test part, whose cases stay the same; ``too few``: there are fewer than
            three folds, or seeds of one; ``none``.
    """

    modality: str
    kind: str
    left: Score
    drop: Score
    interval: str
