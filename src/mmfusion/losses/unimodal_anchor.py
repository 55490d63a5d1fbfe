"""Unimodal prototypes as anchors."""

import torch
from torch import Tensor

from mmfusion.losses.anchors import AnchorLoss, AnchorSet, Reduction, check_anchor_options, without_autocast_of_units
from mmfusion.losses.functional import masked_logsumexp, mean_where, negative_log_share
from mmfusion.registry import losses


@without_autocast_of_units
def unimodal_anchor_loss(
    anchors: AnchorSet,
    *,
    temperature: float | Tensor = 0.07,
    reduction: Reduction = "normalised",
    eps: float = 0.0,
) -> Tensor:
    """Each unimodal prototype against its class's crossmodal prototype and other classes' unimodal ones.

    ``1/M sum_m sum_k l(u[m, k]; {c[k]}, {u[p, l] : l != k, any p})``.

    Args:
        anchors: From :func:`anchor_set`.
        temperature: Divides the cosine similarity; positive.
        reduction: ``"published"`` divides by the modalities and not by the classes; ``"normalised"`` by both, counting
            those with a case.
        eps: Added inside the logarithm, and to the sum; 1e-8 as published.

    Returns:
        A scalar; 0 if there is only one class.

    Raises:
        ValueError: If an option is out of range.
    """
    check_anchor_options(temperature, reduction)
    proto = anchors.prototypes
    n_modalities, n_classes, _ = proto.unimodal.shape
    there = proto.has_unimodal
    positive = (proto.unimodal * proto.crossmodal).sum(-1) / temperature  # (m, k)
    u = proto.unimodal.flatten(0, 1)  # (m * k, d)
    of_class = torch.arange(n_classes, device=u.device).repeat(n_modalities)
    pushed = (of_class.unsqueeze(1) != of_class) & there.flatten()
    negative = masked_logsumexp(u @ u.mT / temperature, pushed).view_as(positive)
    # One modality's prototype of a class is there only if the crossmodal one is.
    counted = there & pushed.any(-1).view_as(there)
    loss = torch.where(counted, negative_log_share(positive, negative, eps), 0.0)
    return eps + loss.sum() / n_modalities if reduction == "published" else mean_where(loss, there)


@losses.register("unimodal_anchor")
class UnimodalAnchorLoss(AnchorLoss):
    """Unimodal prototypes as anchors; see :func:`~mmfusion.losses.anchors.unimodal_anchor_loss`."""

    def of_anchors(self, anchors: AnchorSet) -> Tensor:
        """The loss from what the anchor losses share."""
        return unimodal_anchor_loss(anchors, temperature=self.temperature(), reduction=self.reduction, eps=self.eps)
