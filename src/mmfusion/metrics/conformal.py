"""Split-conformal sets of classes, by class (Mondrian): a promise for each class, on cases like those of calibration.

A case's score for a class is one less the probability of that class. With ``n`` calibration cases of a class, the set
of a new case has the class if its score is at most the ``k``-th smallest of theirs, ``k = ceil((n + 1) coverage)``. A
new case of that class, exchangeable with them, is then covered with at least that probability (Vovk et al.,
"Algorithmic Learning in a Random World", 2005, section 4.5). Where ``k`` exceeds ``n`` nothing can be excluded, and the
class is in every set.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfusion.metrics.classification import reported
from mmfusion.metrics.few_positives import wilson
from mmfusion.metrics.ranking import Floats

COVERAGE = 0.9
"""The usual coverage."""


def calibration_scores(probabilities: Floats, labels: NDArray[np.int64]) -> tuple[tuple[float, ...], ...]:
    """Scores of calibration cases for their own class, by class and ascending.

    Args:
        probabilities: Shape ``(n, k)``, of cases that chose nothing of the model, independent of each other.
        labels: Shape ``(n,)``, class indices.
    """
    own = 1 - probabilities[np.arange(len(labels)), labels]
    return tuple(tuple(np.sort(own[labels == c]).tolist()) for c in range(probabilities.shape[1]))


def limits(scores: Sequence[Sequence[float]], coverage: float = COVERAGE) -> Floats:
    """The largest score with which a class is in a set.

    Args:
        scores: By class, ascending; may be empty.
        coverage: Share of new cases of each class whose set has it, in (0, 1).

    Returns:
        Shape ``(k,)``; infinite where too few calibration cases exclude nothing.

    Raises:
        ValueError: If the coverage is not above 0 and below 1.
    """
    if not 0 < coverage < 1:
        raise ValueError(f"coverage expects a share above 0 and below 1, got {coverage}")
    # Rounding must not ask for one case more: 0.9 of 10 is 9.
    ranks = [math.ceil((len(own) + 1) * coverage - 1e-9) for own in scores]
    return np.array([own[rank - 1] if rank <= len(own) else np.inf for own, rank in zip(scores, ranks)])


def prediction_sets(
    probabilities: Floats, scores: Sequence[Sequence[float]], coverage: float = COVERAGE
) -> NDArray[np.bool_]:
    """Which classes are in the set of each case, shape ``(n, k)``; arguments as of :func:`limits`.

    A set may be empty, of a case that is unlike all classes.
    """
    return np.asarray(1 - probabilities <= limits(scores, coverage))


@dataclass(frozen=True)
class SetCoverage:
    """How the sets of labelled cases do.

    Attributes:
        coverage: Share of the cases whose set has their class, with its interval.
        of_class: The same of each class with cases.
        mean_size: Classes in a set, on average.
        single: Share of the sets with one class.
        empty: Share of the empty sets.
        right: Share of the cases with a set of one class whose class that is; NaN without any.
    """

    coverage: tuple[float, float, float]
    of_class: Mapping[str, tuple[float, float, float]]
    mean_size: float
    single: float
    empty: float
    right: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON; what is undefined is null."""
        ends = ("value", "low", "high")
        return {
            "coverage": dict(zip(ends, self.coverage)),
            "of_class": {name: dict(zip(ends, share)) for name, share in self.of_class.items()},
            "mean_size": self.mean_size,
            "single": self.single,
            "empty": self.empty,
            "right": reported(self.right),
        }


def set_coverage(
    sets: NDArray[np.bool_], labels: NDArray[np.int64], groups: Sequence[str], classes: Sequence[str]
) -> SetCoverage:
    """Marginal and class-wise coverage of sets, with Wilson's intervals of as many cases as there are groups.

    Args:
        sets: Shape ``(n, k)``, from :func:`prediction_sets`; at least one case.
        labels: Shape ``(n,)``.
        groups: Patient or lesion of each case.
        classes: Names of the classes.
    """
    hit, names = sets[np.arange(len(labels)), labels], np.asarray(groups, dtype=str)

    def share(rows: NDArray[np.bool_]) -> tuple[float, float, float]:
        value = float(hit[rows].mean())
        return value, *wilson(value, len(set(names[rows].tolist())))

    single = sets.sum(axis=1) == 1
    return SetCoverage(
        share(np.ones(len(labels), dtype=np.bool_)),
        {name: share(labels == c) for c, name in enumerate(classes) if (labels == c).any()},
        float(sets.sum(axis=1).mean()),
        float(single.mean()),
        float((~sets.any(axis=1)).mean()),
        float(hit[single].mean()) if single.any() else float("nan"),
    )
