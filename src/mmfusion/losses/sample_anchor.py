"""Samples as anchors."""

import torch
from torch import Tensor

from mmfusion.losses.anchors import AnchorLoss, AnchorSet, Reduction, check_anchor_options, without_autocast_of_units
from mmfusion.losses.functional import masked_logsumexp, mean_where, negative_log_share
from mmfusion.registry import losses


@without_autocast_of_units
def sample_anchor_loss(
    anchors: AnchorSet,
    *,
    temperature: float | Tensor = 0.07,
    reduction: Reduction = "normalised",
    eps: float = 0.0,
) -> Tensor:
    """Each sample against the prototypes of its class and the samples of other classes.

    ``sum_m sum_k mean_{i in k} l(x[m, i]; {c[k], u[1, k], ..., u[M, k]}, {x[m, j] : y_j != k})``: the prototypes are
    the only positives, samples of the same modality the only negatives.

    Args:
        anchors: From :func:`anchor_set`.
        temperature: Divides the cosine similarity; positive.
        reduction: ``"published"`` sums over modalities and classes; ``"normalised"`` averages over those with a case.
        eps: Added inside the logarithm; 1e-8 as published.

    Returns:
        A scalar; 0 if there is only one class.

    Raises:
        ValueError: If an option is out of range.
    """
    check_anchor_options(temperature, reduction)
    units, member, counted, proto = anchors.units, anchors.member, anchors.counted, anchors.prototypes
    own = anchors.labels.clamp(0, member.shape[1] - 1)
    every = torch.cat([proto.unimodal, proto.crossmodal.unsqueeze(0)])
    has = torch.cat([proto.has_unimodal, proto.has_crossmodal.unsqueeze(0)])
    positive = torch.einsum("mbd,pbd->mbp", units, every[:, own]) / temperature  # p: whose prototype
    has_positive = has[:, own].T
    other_class = anchors.labels.unsqueeze(0) != anchors.labels.unsqueeze(1)
    pushed = other_class & counted.unsqueeze(1)  # (m, b, b)
    loss = negative_log_share(
        masked_logsumexp(positive, has_positive), masked_logsumexp(units @ units.mT / temperature, pushed), eps
    )
    loss = torch.where(counted & pushed.any(-1), loss, 0.0)
    in_class = (member & counted.unsqueeze(-1)).to(loss.dtype)  # (m, b, k)
    count = in_class.sum(1)
    class_means = torch.einsum("mb,mbk->mk", loss, in_class) / count.clamp(min=1)
    return class_means.sum() if reduction == "published" else mean_where(class_means, count > 0)


@losses.register("sample_anchor")
class SampleAnchorLoss(AnchorLoss):
    """Samples as anchors; see :func:`~mmfusion.losses.anchors.sample_anchor_loss`."""

    def of_anchors(self, anchors: AnchorSet) -> Tensor:
        """The loss from what the anchor losses share."""
        return sample_anchor_loss(anchors, temperature=self.temperature(), reduction=self.reduction, eps=self.eps)
