"""Features of a modality outside its share (AMF)."""

import torch
from torch import Tensor

from mmfusion.losses.batch import Batch
from mmfusion.losses.functional import mean_where
from mmfusion.losses.modulation import ModulationLoss
from mmfusion.registry import losses


def leakage_loss(x: Tensor, feature_mask: Tensor, present: Tensor) -> Tensor:
    """The mean size of a modality's features outside its part, over the modalities that each case has.

    A feature of 0 has the gradient 0.

    Args:
        x: Projected features, shape ``(m, b, d)``.
        feature_mask: Shape ``(m, 1, d)``, bool; True belongs to the modality.
        present: Shape ``(m, b)``, bool; True is present. What is absent may hold anything.

    Returns:
        A scalar; 0 with a single modality.
    """
    outside = ~feature_mask
    size = torch.where(outside & present.unsqueeze(-1), x, 0.0).abs().sum(-1) / outside.sum(-1).clamp(min=1)
    return mean_where(size, present)


@losses.register("leakage")
class LeakageLoss(ModulationLoss):
    """Nothing of a modality outside its features; see :func:`leakage_loss`."""

    def compute(self, batch: Batch) -> Tensor:
        """The loss of all modalities' embeddings."""
        return leakage_loss(*self.features(batch))
