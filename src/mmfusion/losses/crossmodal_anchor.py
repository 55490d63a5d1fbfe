"""Crossmodal prototypes as anchors."""

import torch
from torch import Tensor

from mmfusion.losses.anchor_loss import AnchorLoss, Eps, Reduction, reduced
from mmfusion.losses.anchors import AnchorSet
from mmfusion.losses.batch import Batch
from mmfusion.losses.functional import contrast, formula
from mmfusion.options import TemperatureValue
from mmfusion.registry import losses


@formula
def crossmodal_anchor_loss(
    anchors: AnchorSet,
    *,
    temperature: TemperatureValue | Tensor = 0.07,
    reduction: Reduction = "normalized",
    eps: Eps = 0.0,
) -> Tensor:
    """Each crossmodal prototype against its class's unimodal prototypes and other classes' crossmodal ones.

    ``1/K sum_k l(c[k]; {u[1, k], ..., u[M, k]}, {c[l] : l != k})``.

    Args:
        anchors: From :func:`~mmfusion.losses.anchors.anchor_set`.
        temperature: Divides the cosine similarity; positive.
        reduction: ``"published"`` divides by the number of classes, ``"normalized"`` by those with a case.
        eps: Added inside the logarithm, and to the sum; 1e-8 as published.

    Returns:
        A scalar; 0 if there is only one class.

    Raises:
        ValueError: If an option is out of range.
    """
    prototypes = anchors.prototypes
    u, c, present = prototypes.unimodal.flatten(0, 1), prototypes.crossmodal, prototypes.has_crossmodal
    m, k = prototypes.has_unimodal.shape
    same = torch.eye(k, dtype=torch.bool, device=u.device)
    positive, negative = same.repeat(1, m) & prototypes.has_unimodal.flatten(), ~same & present
    loss = contrast(c, (u, c), positive, negative, temperature, eps=eps, normalize=False)
    return reduced(loss, present, reduction, k, eps)


@losses.register("crossmodal_anchor")
class CrossmodalAnchorLoss(AnchorLoss):
    """Crossmodal prototypes as anchors; see :func:`crossmodal_anchor_loss`."""

    def compute(self, batch: Batch) -> Tensor:
        """The loss of embeddings and labels."""
        return crossmodal_anchor_loss(self.anchors(batch), **self.options())
