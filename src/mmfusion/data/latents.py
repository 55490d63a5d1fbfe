"""What decides the label of a synthetic case: a few discrete cues whose joint distribution is known exactly.

Two cues are in the images, a coarse one and a fine one, each of two states; three are in the table: the elevation
(three states), the age band and the body region (two states each). The log odds of a melanoma are

    intercept + coarse * c + fine * f + tabular * (e + 0.6 * a) + interaction * c * r

with c, f, a, r in {-1, 1} and e in {-1, 0, 1}. The body region r works through the interaction alone: it says nothing
about the label unless the coarse cue is seen as well.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SIGNS = np.array([-1.0, 1.0])
ELEVATIONS = np.array([-1.0, 0.0, 1.0])
P_ELEVATION = np.array([0.4, 0.3, 0.3])
AGE_WEIGHT = 0.6
AXES = ("coarse", "fine", "elevation", "age", "region")
IMAGE_AXES = (0, 1)
TABLE_AXES = (2, 3, 4)


@dataclass(frozen=True)
class LatentModel:
    """The joint distribution of cues, observed cells and label.

    Attributes:
        coarse: Log odds of the coarse image cue.
        fine: Log odds of the fine image cue.
        tabular: Log odds of the table's own cues.
        interaction: Log odds of the agreement of coarse cue and body region.
        prevalence: Share of melanomas before label noise, in (0, 1); the intercept follows from it.
        label_noise: Probability that a label is flipped, in [0, 0.5).
        missing: Probability that a cell of the table is empty, for each cell by itself, in [0, 1).

    Raises:
        ValueError: If a probability is out of its range.
    """

    coarse: float
    fine: float
    tabular: float
    interaction: float
    prevalence: float
    label_noise: float = 0.0
    missing: float = 0.0
    probability: Floats = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 < self.prevalence < 1:
            raise ValueError(f"prevalence expects a share between 0 and 1, got {self.prevalence}")
        if not 0 <= self.label_noise < 0.5:
            raise ValueError(f"label_noise expects a probability from 0 to below 0.5, got {self.label_noise}")
        if not 0 <= self.missing < 1:
            raise ValueError(f"missing expects a probability from 0 to below 1, got {self.missing}")
        clean = _sigmoid(self._intercept() + self._effects())
        object.__setattr__(self, "probability", clean * (1 - self.label_noise) + (1 - clean) * self.label_noise)

    @cached_property
    def prior(self) -> Floats:
        """Probability of each combination of cues, shape ``(2, 2, 3, 2, 2)`` in the order of ``AXES``."""
        return np.broadcast_to(P_ELEVATION[:, None, None] / 16, (2, 2, 3, 2, 2)).copy()

    def _effects(self) -> Floats:
        c, f, e, a, r = np.meshgrid(SIGNS, SIGNS, ELEVATIONS, SIGNS, SIGNS, indexing="ij")
        effects: Floats = (
            self.coarse * c + self.fine * f + self.tabular * (e + AGE_WEIGHT * a) + self.interaction * c * r
        )
        return effects

    def _intercept(self) -> float:
        """The intercept that gives the prevalence, by bisection."""
        effects, prior = self._effects(), self.prior
        reach = float(np.abs(effects).max()) + 40.0
        low, high = -reach, reach
        for _ in range(100):
            middle = (low + high) / 2
            too_few = float((prior * _sigmoid(middle + effects)).sum()) < self.prevalence
            low, high = (middle, high) if too_few else (low, middle)
        return (low + high) / 2

    def ceilings(self) -> dict[str, float]:
        """Bayes AUC of the image cues, of the table's cells, and of both, in the population.

        Summed over all combinations, nothing is sampled.
        """
        # An observed cell is its cue's state, or empty: one state more on each of the table's axes.
        seen = [
            np.concatenate([(1 - self.missing) * np.eye(n), np.full((n, 1), self.missing)], axis=1) for n in (3, 2, 2)
        ]
        masses = [
            np.einsum("cfear,ex,ay,rz->cfxyz", self.prior * p, *seen) for p in (self.probability, 1 - self.probability)
        ]
        views: dict[str, tuple[int, ...]] = {"image": TABLE_AXES, "table": IMAGE_AXES, "both": ()}
        return {name: bayes_auc(*(mass.sum(axis=hidden) for mass in masses)) for name, hidden in views.items()}


def bayes_auc(positive: Floats, negative: Floats) -> float:
    """AUC of the best score that can be computed from a discrete observation: its likelihood ratio.

    Args:
        positive: Joint probability of each observation with a positive label, any shape.
        negative: The same with a negative label.

    Returns:
        The probability that a random positive scores above a random negative, ties counting half.
    """
    positive, negative = positive.ravel(), negative.ravel()
    possible = positive + negative > 0
    positive, negative = positive[possible], negative[possible]
    # Sums in another order differ in the last bits: observations that say the same must count as ties.
    score = np.round(positive / (positive + negative), 12)
    above = (score[:, None] > score[None, :]) + 0.5 * (score[:, None] == score[None, :])
    return float(positive @ above @ negative / (positive.sum() * negative.sum()))


def _sigmoid(x: Floats) -> Floats:
    # tanh does not overflow, exp does.
    half: Floats = 0.5 * (1.0 + np.tanh(0.5 * x))
    return half
