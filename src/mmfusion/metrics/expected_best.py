"""Expected best validation score against the number of trials."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def expected_best(scores: Sequence[float], *, lower_is_better: bool = False) -> NDArray[np.float64]:
    """Expected best score of 1, 2, ... trials drawn with replacement from those that were made.

    ``E[max of n] = sum_i s_(i) ((i / N)^n - ((i - 1) / N)^n)`` over the N scores in ascending order (Dodge et al. 2019,
    "Show Your Work", arXiv 1909.03004, equation 4).

    Args:
        scores: Of each trial, finite.
        lower_is_better: Then it is the expected minimum.

    Returns:
        Shape ``(N,)``: of 1 to N trials.

    Raises:
        ValueError: If there is no score, or one is not finite.
    """
    values = np.asarray(scores, dtype=np.float64)
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"expected_best expects at least one score, all of them finite, got {list(scores)}")
    ordered = np.sort(-values if lower_is_better else values)
    share = np.arange(len(values) + 1) / len(values)
    n = np.arange(1, len(values) + 1)[:, None]
    best: NDArray[np.float64] = (np.diff(share**n, axis=1) * ordered).sum(axis=1)
    return -best if lower_is_better else best
