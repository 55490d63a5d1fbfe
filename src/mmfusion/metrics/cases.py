"""The test cases as intervals see them: classes, and groups that are drawn together."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

FEW = 50
"""Cases (or groups of cases) of a class below which intervals are those for few positives."""
MARKED = 10
"""Cases of a class below which its numbers are marked: nothing is known of how its intervals cover."""


def one_per_group(groups: Sequence[str], *, seed: int = 0) -> NDArray[np.intp]:
    """One case of each group, chosen at random: independent cases, where several of a patient are not.

    Args:
        groups: The patient or lesion of each case.
        seed: The same seed and groups give the same cases.

    Returns:
        Positions, ascending.
    """
    order = np.random.default_rng(seed).permutation(len(groups))
    _, first = np.unique(np.asarray(groups, dtype=str)[order], return_index=True)
    return np.sort(order[first])


@dataclass(frozen=True)
class TestCases:
    """Labels and groups of some test cases.

    Attributes:
        labels: Shape ``(n,)``, class indices.
        groups: Shape ``(n,)``, index of the patient or lesion of each case, from 0.
        n_classes: How many classes the task has; some may have no case.
        names: Names of the classes, as in ``accuracy_<class>``.
    """

    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    n_classes: int
    names: tuple[str, ...]

    # Not a test, whatever its name begins with.
    __test__ = False

    @classmethod
    def of(
        cls, labels: ArrayLike, groups: Sequence[str] | None, n_classes: int, names: Sequence[str] = ()
    ) -> "TestCases":
        """From names of groups; None: each case by itself.

        Raises:
            ValueError: If there is not one group per case, or there is no case.
        """
        y = np.asarray(labels, dtype=np.int64)
        if groups is not None and len(groups) != len(y):
            raise ValueError(f"expected one group per case, got {len(groups)} groups and {len(y)} cases")
        if not len(y):
            raise ValueError("expected at least one case, got none")
        index = (
            np.arange(len(y)) if groups is None else np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
        )
        called = tuple(names) if names else tuple(map(str, range(n_classes)))
        return cls(y, index.astype(np.int64), n_classes, called)

    @cached_property
    def n_groups(self) -> int:
        """Number of groups."""
        return int(self.groups.max()) + 1

    @cached_property
    def groups_of_class(self) -> NDArray[np.int64]:
        """Shape ``(k,)``, groups that have a case of each class."""
        pairs = np.unique(np.stack([self.labels, self.groups]), axis=1)
        return np.bincount(pairs[0], minlength=self.n_classes).astype(np.int64)

    @cached_property
    def cases_of_class(self) -> NDArray[np.int64]:
        """Shape ``(k,)``."""
        return np.bincount(self.labels, minlength=self.n_classes).astype(np.int64)

    @cached_property
    def smallest(self) -> int:
        """Groups of the class that has the fewest of those with cases."""
        return int(self.groups_of_class[self.groups_of_class > 0].min())

    @property
    def few(self) -> bool:
        """Whether a class that has cases has less than :data:`FEW` groups."""
        return self.smallest < FEW

    def marked(self) -> tuple[str, ...]:
        """Names of the classes with cases, but fewer than :data:`MARKED`."""
        return tuple(name for name, n in zip(self.names, self.cases_of_class) if 0 < n < MARKED)
