"""Equal mean size of the modalities' features (AMF)."""

import itertools

import torch
from torch import Tensor

from mmfusion.losses.functional import mean_where
from mmfusion.losses.modulation import ModulationLoss


def density_loss(x: Tensor, own: Tensor, present: Tensor) -> Tensor:
    """How far apart the mean sizes of the modalities' own features are.

    ``|mean_own |x_a| - mean_own |x_b||``, the mean over the cases that have both and over pairs of modalities.
    A size has its kink at 0 and a difference where the two are equal: the gradient is 0 there.

    NOTE[DIFF] The public code divides by one length for both parts, having overwritten the other; here each mean is
    over its own part.

    Args:
        x: Projected features, shape ``(m, b, d)``.
        own: Shape ``(m, 1, d)``, bool; True is the modality's own.
        present: Shape ``(m, b)``, bool; True is there. What is not may hold anything.

    Returns:
        A scalar; 0 with a single modality.
    """
    size = torch.where(own & present.unsqueeze(-1), x, 0.0).abs().sum(-1) / own.sum(-1)
    pairs = list(itertools.combinations(range(len(x)), 2))
    if not pairs:
        return size.sum() * 0
    first, second = ([pair[side] for pair in pairs] for side in (0, 1))
    return mean_where((size[first] - size[second]).abs(), present[first] & present[second])


class DensityLoss(ModulationLoss):
    """The modalities' own features of equal mean size; see :func:`density_loss`."""

    def formula(self, x: Tensor, own: Tensor, present: Tensor) -> Tensor:
        """The loss."""
        return density_loss(x, own, present)
