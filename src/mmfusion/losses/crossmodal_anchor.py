"""Crossmodal prototypes as anchors."""

import torch
from torch import Tensor

from mmfusion.losses.anchors import AnchorLoss, AnchorSet, Reduction, check_anchor_options, without_autocast_of_units
from mmfusion.losses.functional import masked_logsumexp, mean_where, negative_log_share
from mmfusion.registry import losses


@without_autocast_of_units
def crossmodal_anchor_loss(
    anchors: AnchorSet,
    *,
    temperature: float | Tensor = 0.07,
    reduction: Reduction = "normalised",
    eps: float = 0.0,
) -> Tensor:
    """Each crossmodal prototype against its class's unimodal prototypes and other classes' crossmodal ones.

    ``1/K sum_k l(c[k]; {u[1, k], ..., u[M, k]}, {c[l] : l != k})``.

    Args:
        anchors: From :func:`anchor_set`.
        temperature: Divides the cosine similarity; positive.
        reduction: ``"published"`` divides by the number of classes, ``"normalised"`` by those with a case.
        eps: Added inside the logarithm, and to the sum; 1e-8 as published.

    Returns:
        A scalar; 0 if there is only one class.

    Raises:
        ValueError: If an option is out of range.
    """
    check_anchor_options(temperature, reduction)
    proto = anchors.prototypes
    there = proto.has_crossmodal
    n_classes = len(there)
    positive = masked_logsumexp((proto.unimodal * proto.crossmodal).sum(-1) / temperature, proto.has_unimodal, 0)
    pushed = ~torch.eye(n_classes, dtype=torch.bool, device=there.device) & there
    negative = masked_logsumexp(proto.crossmodal @ proto.crossmodal.mT / temperature, pushed)
    loss = torch.where(there & pushed.any(-1), negative_log_share(positive, negative, eps), 0.0)
    return eps + loss.sum() / n_classes if reduction == "published" else mean_where(loss, there)


@losses.register("crossmodal_anchor")
class CrossmodalAnchorLoss(AnchorLoss):
    """Crossmodal prototypes as anchors; see :func:`~mmfusion.losses.anchors.crossmodal_anchor_loss`."""

    def of_anchors(self, anchors: AnchorSet) -> Tensor:
        """The loss from what the anchor losses share."""
        return crossmodal_anchor_loss(anchors, temperature=self.temperature(), reduction=self.reduction, eps=self.eps)
