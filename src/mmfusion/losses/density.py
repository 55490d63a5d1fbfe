"""Equal mean size of the modalities' features (AMF)."""

import itertools

import torch
from torch import Tensor

from mmfusion.losses.batch import Batch
from mmfusion.losses.functional import mean_where
from mmfusion.losses.modulation import ModulationLoss
from mmfusion.registry import losses


def density_loss(x: Tensor, feature_mask: Tensor, present: Tensor) -> Tensor:
    """How far apart the mean sizes of the features are that belong to each modality.

    ``|mean |x_a| - mean |x_b||``, each mean over the modality's features, the mean over the cases that have both and
    over pairs of modalities. The gradient is 0 at the kinks: a feature of 0, and two sizes that are equal.

    NOTE[DIFF] The public code divides by one length for both parts, having overwritten the other; here each mean is
    over its own part.

    Args:
        x: Projected features, shape ``(m, b, d)``.
        feature_mask: Shape ``(m, 1, d)``, bool; True belongs to the modality.
        present: Shape ``(m, b)``, bool; True is present. What is absent may hold anything.

    Returns:
        A scalar; 0 with a single modality.
    """
    size = torch.where(feature_mask & present.unsqueeze(-1), x, 0.0).abs().sum(-1) / feature_mask.sum(-1)
    pairs = list(itertools.combinations(range(len(x)), 2))
    if not pairs:
        return size.sum() * 0
    first, second = ([pair[side] for pair in pairs] for side in (0, 1))
    return mean_where((size[first] - size[second]).abs(), present[first] & present[second])


@losses.register("density")
class DensityLoss(ModulationLoss):
    """The features of the modalities of equal mean size; see :func:`density_loss`."""

    def compute(self, batch: Batch) -> Tensor:
        """The loss of all modalities' embeddings."""
        return density_loss(*self.features(batch))
