"""Latent model of a synthetic dataset: discrete cues that determine the label, and the best possible AUC.

Cues are independent of each other. Each is shown by some of the image modalities or by one cell of the table, and
nothing else in a case depends on them. The label is drawn from the softmax of one log odds per class: intercepts, which
give each class its share, plus the effects of the cues, which each dataset defines.

The observation of a case is discrete, too: absent images and empty cells show nothing. So the best AUC that any model
can reach is a finite sum, without sampling.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
States = Mapping[str, NDArray[np.int64]]
"""The hidden state of some cases: by cue, shape ``(n,)``, indices of states."""

SIGNS = np.array([-1.0, 1.0])
"""Values of the two states of a binary cue."""
BINARY = (0.5, 0.5)


@dataclass(frozen=True)
class Cue:
    """A hidden variable of a few states.

    Attributes:
        name: Unique among the cues of a model.
        prior: Probability of each state.
        shown_by: The image modalities that show it, each by itself; empty: a cell of the table shows it.
    """

    name: str
    prior: tuple[float, ...] = BINARY
    shown_by: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class LatentModel:
    """The joint distribution of cues, observations and label. Letters: k classes.

    Attributes:
        cues: In the order of the axes of all arrays.
        effects: Contribution of each combination of states to each class's log odds, shape ``(*states, k)``.
        prevalence: Share of each class before label noise, shape ``(k,)``; the intercepts follow from it.
        label_noise: Probability that a label is replaced by another class, each with equal probability.
        missing: Probability that a cell of the table is empty, independently for each cell, in [0, 1).
        missing_images: Probability that an image modality is absent, independently for each, in [0, 1).
        probability: Of each class for each combination of states, label noise included, shape ``(*states, k)``.

    Raises:
        ValueError: If shapes do not fit or a probability is out of its range.
    """

    cues: tuple[Cue, ...]
    effects: Floats = field(repr=False)
    prevalence: tuple[float, ...]
    label_noise: float = 0.0
    missing: float = 0.0
    missing_images: float = 0.0
    probability: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        k = len(self.prevalence)
        states = tuple(len(cue.prior) for cue in self.cues)
        if self.effects.shape != (*states, k):
            raise ValueError(f"effects expect shape {(*states, k)}, states and classes, got {self.effects.shape}")
        if not all(0 < share < 1 for share in self.prevalence) or not math.isclose(sum(self.prevalence), 1):
            raise ValueError(
                f"prevalence expects a share between 0 and 1 for each class, 1 in all, got {self.prevalence}"
            )
        if not 0 <= self.label_noise < 1 - 1 / k:
            raise ValueError(
                f"label_noise expects a probability from 0 to below {1 - 1 / k:.3g}, with which {k} classes are pure "
                f"chance, got {self.label_noise}"
            )
        for name in ("missing", "missing_images"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} expects a probability from 0 to below 1, got {getattr(self, name)}")
        clean = _softmax(_intercepts(self.effects, self.prior, self.prevalence) + self.effects)
        noisy = clean * (1 - self.label_noise) + (1 - clean) * self.label_noise / (k - 1)
        object.__setattr__(self, "probability", noisy)

    @cached_property
    def prior(self) -> Floats:
        """Probability of each combination of states, shape ``(*states)``."""
        prior = np.ones(())
        for cue in self.cues:
            prior = np.multiply.outer(prior, np.array(cue.prior))
        return prior

    @property
    def images(self) -> tuple[str, ...]:
        """The image modalities that show a cue."""
        return tuple(dict.fromkeys(name for cue in self.cues for name in cue.shown_by))

    def draw(self, n: int, rng: np.random.Generator) -> dict[str, NDArray[np.int64]]:
        """The states of n cases, in the order of the cues."""
        return {
            cue.name: rng.integers(0, 2, n) if cue.prior == BINARY else rng.choice(len(cue.prior), n, p=cue.prior)
            for cue in self.cues
        }

    def given(self, states: States) -> Floats:
        """Probability of each class for each of some cases, shape ``(n, k)``."""
        rows: Floats = self.probability[tuple(states[cue.name] for cue in self.cues)]
        return rows

    def labels(self, states: States, rng: np.random.Generator) -> NDArray[np.int64]:
        """A class for each of some cases, shape ``(n,)``."""
        at_least = self.given(states)[:, ::-1].cumsum(axis=1)[:, -2::-1]
        drawn: NDArray[np.int64] = (rng.random(len(at_least))[:, None] < at_least).sum(axis=1)
        return drawn

    def ceilings(self) -> dict[str, float]:
        """Bayes AUC of the images, of the table's cells, and of both, in the population.

        An image cue is observed if at least one of the modalities that show it is present. With more than two classes
        the AUC is the mean over the classes, each against the rest.
        """
        in_images = frozenset(axis for axis, cue in enumerate(self.cues) if cue.shown_by)
        everything = frozenset(range(len(self.cues)))
        views = {"image": in_images, "table": everything - in_images, "both": everything}
        return {name: macro_auc(self._observations(shown)) for name, shown in views.items()}

    def _observations(self, shown: AbstractSet[int]) -> Floats:
        """Joint probability of each observation of some axes with each class, shape ``(observations, k)``."""
        joint = self.prior[..., None] * self.probability
        patterns: dict[AbstractSet[int], float] = {}
        for visible, probability in self._visible():
            patterns[visible & shown] = patterns.get(visible & shown, 0.0) + probability
        masses = []
        for visible, probability in patterns.items():
            mass = probability * joint
            for axis, cue in enumerate(self.cues):
                channel = self._channel(len(cue.prior), axis in visible, cell=not cue.shown_by)
                mass = np.moveaxis(np.tensordot(channel, mass, (0, axis)), 0, axis)
            masses.append(mass.reshape(-1, len(self.prevalence)))
        return np.concatenate(masses)

    def _visible(self) -> list[tuple[AbstractSet[int], float]]:
        """The visible axes, all cells included, and their probability, for each pattern of absent images."""
        patterns = []
        for pattern in itertools.product((True, False), repeat=len(self.images)):
            present = {name for name, is_present in zip(self.images, pattern) if is_present}
            probability = math.prod(1 - self.missing_images if here else self.missing_images for here in pattern)
            axes = (a for a, cue in enumerate(self.cues) if not cue.shown_by or present & set(cue.shown_by))
            patterns.append((frozenset(axes), probability))
        return [(axes, probability) for axes, probability in patterns if probability]

    def _channel(self, n: int, visible: bool, *, cell: bool) -> Floats:
        """Probability of each observation of a cue given its state, shape ``(n, observations)``."""
        if not visible:
            return np.ones((n, 1))
        if not cell:
            return np.eye(n)
        # A cell shows its state, or is empty.
        return np.concatenate([(1 - self.missing) * np.eye(n), np.full((n, 1), self.missing)], axis=1)


def macro_auc(masses: Floats) -> float:
    """Mean over the classes of each one's AUC against the rest, by its probability given the observation.

    Args:
        masses: Joint probability of each observation with each class, shape ``(observations, k)``.

    Returns:
        The best that any score can reach; with two classes the AUC of either.
    """
    total = masses.sum(axis=1)
    return float(np.mean([bayes_auc(mass, total - mass) for mass in masses.T]))


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
    # Sums in another order differ in the last bits: equal observations must count as ties.
    score = np.round(positive / (positive + negative), 12)
    above = (score[:, None] > score[None, :]) + 0.5 * (score[:, None] == score[None, :])
    return float(positive @ above @ negative / (positive.sum() * negative.sum()))


def _intercepts(effects: Floats, prior: Floats, prevalence: Sequence[float]) -> Floats:
    """One intercept per class, 0 for the first, that give the classes their shares, shape ``(k,)``.

    They minimize a convex function, by bisection along one coordinate after the other; with two classes there is one.
    """
    prior, effects = prior.ravel(), effects.reshape(prior.size, -1)
    intercepts = np.zeros(effects.shape[1])
    reach = 2 * float(np.abs(effects).max()) + 40.0
    for _ in range(200):
        for k in range(1, len(intercepts)):
            low, high = -reach, reach
            for _ in range(100):
                intercepts[k] = (low + high) / 2
                is_low = float(prior @ _softmax(intercepts + effects)[:, k]) < prevalence[k]
                low, high = (intercepts[k], high) if is_low else (low, intercepts[k])
        if np.abs(prior @ _softmax(intercepts + effects) - prevalence).max() < 1e-12:
            break
    return intercepts


def _softmax(x: Floats) -> Floats:
    grown = np.exp(x - x.max(axis=-1, keepdims=True))
    shares: Floats = grown / grown.sum(axis=-1, keepdims=True)
    return shares
