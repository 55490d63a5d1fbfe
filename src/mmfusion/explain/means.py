"""Mean contributions of groups of cases."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Means(NamedTuple):
    """Of one group, float64.

    Attributes:
        n: Cases.
        mean: Signed, shape ``(p,)``; these add up as each case's contributions do.
        error: Standard errors of the signed means; NaN of a single case.
        absolute: Mean sizes.
    """

    n: int
    mean: Tensor
    error: Tensor
    absolute: Tensor


def mean_contributions(values: Tensor, groups: Sequence[str]) -> dict[str, Means]:
    """Mean contributions by group.

    Args:
        values: Of p parts to each of n cases, shape ``(n, p)``; what a case lacks contributed 0 and counts as that. A
            case with a value that is not finite is left out.
        groups: Of each case.

    Returns:
        By group, in the order of the first cases; a group of which no case is left has no entry.

    Raises:
        ValueError: If there is not one group per case.
    """
    if len(groups) != len(values):
        raise ValueError(f"groups expects one for each of {len(values)} cases, got {len(groups)}")
    sound = values.isfinite().all(1).tolist()
    found = {}
    for name in dict.fromkeys(groups):
        rows = [i for i, group in enumerate(groups) if group == name and sound[i]]
        if rows:
            own = values[rows].double()
            few = len(rows) < 2 or not own.shape[1]
            error = torch.full_like(own[0], torch.nan) if few else own.std(0) / len(rows) ** 0.5
            found[name] = Means(len(rows), own.mean(0), error, own.abs().mean(0))
    return found
