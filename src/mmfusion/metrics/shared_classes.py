"""Which subgroups can be compared, and on which classes.

A metric over all classes that a subgroup happens to have is of another task in each. The subgroups of a property are
therefore compared on the classes of which each has :data:`LEAST` cases, and a subgroup takes part if two classes have
as many.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST = 10
"""Cases of a class that every subgroup has, so that it is compared on it."""


@dataclass(frozen=True)
class Shared:
    """The subgroups of a property that are compared, and the classes.

    Attributes:
        values: Of the property; empty if fewer than two subgroups have two classes in common.
        classes: Indices of the classes of which each subgroup has enough cases.
    """

    values: tuple[str, ...]
    classes: tuple[int, ...]


def shared_classes(counts: Mapping[str, NDArray[np.int64]], left_out: Collection[str] = ()) -> Shared:
    """What is compared of one property.

    Args:
        counts: By value, the cases of each class, shape ``(k,)``.
        left_out: Values that take no part, such as that of unknown cells.
    """
    enough = {value: of_class >= LEAST for value, of_class in counts.items() if value not in left_out}
    values = tuple(value for value, classes in enough.items() if classes.sum() >= 2)
    classes = np.flatnonzero(np.all([enough[value] for value in values], axis=0)) if values else np.empty(0)
    if len(values) < 2 or len(classes) < 2:
        return Shared((), ())
    return Shared(values, tuple(int(c) for c in classes))
