"""Unimodal prototypes as anchors."""

import torch
from torch import Tensor

from mmfusion.losses.anchor_loss import AnchorLoss, Eps, Reduction, reduced
from mmfusion.losses.anchors import AnchorSet
from mmfusion.losses.batch import Batch
from mmfusion.losses.functional import contrast, formula
from mmfusion.options import TemperatureValue
from mmfusion.registry import losses


@formula
def unimodal_anchor_loss(
    anchors: AnchorSet,
    *,
    temperature: TemperatureValue | Tensor = 0.07,
    reduction: Reduction = "normalized",
    eps: Eps = 0.0,
) -> Tensor:
    """Each unimodal prototype against its class's crossmodal prototype and other classes' unimodal ones.

    ``1/M sum_m sum_k l(u[m, k]; {c[k]}, {u[p, l] : l != k, any p})``.

    Args:
        anchors: From :func:`~mmfusion.losses.anchors.anchor_set`.
        temperature: Divides the cosine similarity; positive.
        reduction: ``"published"`` divides by the modalities and not by the classes; ``"normalized"`` by both, counting
            those with a case.
        eps: Added inside the logarithm, and to the sum; 1e-8 as published.

    Returns:
        A scalar; 0 if there is only one class.

    Raises:
        ValueError: If an option is out of range.
    """
    prototypes = anchors.prototypes
    u, c, present = prototypes.unimodal.flatten(0, 1), prototypes.crossmodal, prototypes.has_unimodal.flatten()
    m, k = prototypes.has_unimodal.shape
    same = torch.eye(k, dtype=torch.bool, device=u.device)
    positive, negative = same.repeat(m, 1), ~same.repeat(m, m) & present
    loss = contrast(u, (c, u), positive, negative, temperature, eps=eps, normalize=False)
    return reduced(loss, present, reduction, m, eps)


@losses.register("unimodal_anchor")
class UnimodalAnchorLoss(AnchorLoss):
    """Unimodal prototypes as anchors; see :func:`unimodal_anchor_loss`."""

    def compute(self, batch: Batch) -> Tensor:
        """The loss of embeddings and labels."""
        return unimodal_anchor_loss(self.anchors(batch), **self.options())
