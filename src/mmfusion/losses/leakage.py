"""Features of a modality outside its share (AMF)."""

import torch
from torch import Tensor

from mmfusion.losses.functional import mean_where
from mmfusion.losses.modulation import ModulationLoss


def leakage_loss(x: Tensor, own: Tensor, present: Tensor) -> Tensor:
    """The mean size of a modality's features outside its own part, over the modalities that each case has.

    A feature of 0 has the gradient 0.

    Args:
        x: As for :func:`density_loss`, and so are the others.
        own: Shape ``(m, 1, d)``.
        present: Shape ``(m, b)``.

    Returns:
        A scalar; 0 with a single modality.
    """
    outside = torch.where(~own & present.unsqueeze(-1), x, 0.0).abs().sum(-1) / (~own).sum(-1).clamp(min=1)
    return mean_where(outside, present)


class LeakageLoss(ModulationLoss):
    """Nothing of a modality outside its own features; see :func:`leakage_loss`."""

    def formula(self, x: Tensor, own: Tensor, present: Tensor) -> Tensor:
        """The loss."""
        return leakage_loss(x, own, present)
