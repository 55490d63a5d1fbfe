"""Deletion and insertion: the output as an image's positions are taken away, or shown, from the hottest on.

Petsiuk et al., 2018 (RISE). NOTE[DIFF]: the curves are of the explained output in its unit, log odds, where theirs are
of the probability, which saturates; insertion starts from the same baseline as deletion ends at, where theirs blurs for
the one and blackens for the other; and areas are compared with those of random maps.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Curves(NamedTuple):
    """Deletion and insertion of one case, by one row per map.

    Attributes:
        shares: Of the positions that are taken, shape ``(n + 1,)``, from 0 to 1.
        deletion: The output without them, shape ``(k, n + 1)`` float64.
        insertion: The output with them alone, likewise.
    """

    shares: Tensor
    deletion: Tensor
    insertion: Tensor

    def areas(self) -> tuple[Tensor, Tensor]:
        """Under the deletion and the insertion curves, shape ``(k,)`` each, in the output's unit."""
        return torch.trapezoid(self.deletion, self.shares), torch.trapezoid(self.insertion, self.shares)


def perturbation_curves(
    function: Callable[[Tensor], Tensor], x: Tensor, empty: Tensor, places: Tensor, *, n_steps: int, batch_size: int
) -> Curves:
    """Take an image's positions away in the orders of some maps, and show them.

    Args:
        function: From images to outputs, ``(r, channels, *size)`` to ``(r,)``; called with
            ``2 + 2 k (n_steps - 1)`` images.
        x: The image, shape ``(channels, *size)``.
        empty: The same without content.
        places: Each map's place of each position, shape ``(k, *size)`` int64: 0 is taken first.
        n_steps: Equal steps from none of the positions to all.
        batch_size: Images at once.

    Returns:
        The curves.
    """
    k, n = len(places), places[0].numel()
    counts = [round(n * i / n_steps) for i in range(n_steps + 1)]
    ends = function(torch.stack([x, empty])).double().cpu()
    curves = torch.empty((2, k, n_steps + 1), dtype=torch.float64)
    curves[0, :, 0], curves[0, :, -1] = ends[0], ends[1]
    curves[1, :, 0], curves[1, :, -1] = ends[1], ends[0]
    plan = [(which, row, i) for which in (0, 1) for row in range(k) for i in range(1, n_steps)]
    for start in range(0, len(plan), batch_size):
        chunk = plan[start : start + batch_size]
        shown = torch.stack([(places[row] < counts[i]) == bool(which) for which, row, i in chunk]).to(x.device)
        outputs = function(torch.where(shown.unsqueeze(1), x, empty)).double().cpu()
        for (which, row, i), value in zip(chunk, outputs, strict=True):
            curves[which, row, i] = value
    return Curves(torch.tensor(counts).double() / n, curves[0], curves[1])
