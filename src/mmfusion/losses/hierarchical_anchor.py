"""Samples, unimodal and crossmodal prototypes as anchors."""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from mmfusion.losses.anchor_loss import AnchorLoss, Eps, Reduction
from mmfusion.losses.anchors import AnchorSet
from mmfusion.losses.batch import Batch
from mmfusion.losses.crossmodal_anchor import crossmodal_anchor_loss
from mmfusion.losses.functional import formula
from mmfusion.losses.sample_anchor import sample_anchor_loss
from mmfusion.losses.unimodal_anchor import unimodal_anchor_loss
from mmfusion.options import Length, LossWeight, NClasses, TemperatureValue
from mmfusion.registry import losses


@formula
def hierarchical_anchor_loss(
    anchors: AnchorSet,
    *,
    weights: Annotated[Sequence[LossWeight], Length(3)] = (1.0, 1.0, 1.0),
    temperature: TemperatureValue | Tensor = 0.07,
    reduction: Reduction = "normalized",
    eps: Eps = 0.0,
) -> Tensor:
    """The weighted sum of the sample, the unimodal and the crossmodal anchor loss (CFCML, HRM).

    Args:
        anchors: From :func:`~mmfusion.losses.anchors.anchor_set`.
        weights: ``w_sam``, ``w_up`` and ``w_cp``; a loss of weight 0 is not computed.
        temperature: Divides the cosine similarity; positive.
        reduction: As in each of them.
        eps: As in each of them.

    Returns:
        A scalar; 0 if there is only one class.

    Raises:
        ValueError: If an option is out of range, or all weights are 0.
    """
    if not any(weights):
        raise ValueError(f"one of the three weights must be above 0, got {weights}")
    formulas = (sample_anchor_loss, unimodal_anchor_loss, crossmodal_anchor_loss)
    terms = [
        weight * formula(anchors, temperature=temperature, reduction=reduction, eps=eps)
        for weight, formula in zip(weights, formulas, strict=True)
        if weight > 0
    ]
    return torch.stack(terms).sum()


@losses.register("hierarchical_anchor")
class HierarchicalAnchorLoss(AnchorLoss):
    """All three levels in one; see :func:`hierarchical_anchor_loss`.

    Args:
        sample: Weight of the sample anchors (w_sam); 0 leaves them out.
        unimodal: Weight of the unimodal prototypes as anchors (w_up).
        crossmodal: Weight of the crossmodal prototypes as anchors (w_cp).
        n_classes: As in :class:`~mmfusion.losses.anchor_loss.AnchorLoss`, and so are the others.

    Raises:
        ValueError: If an option is out of range, or all weights are 0.
    """

    def __init__(
        self,
        *,
        sample: LossWeight = 1.0,
        unimodal: LossWeight = 1.0,
        crossmodal: LossWeight = 1.0,
        n_classes: NClasses | None = None,
        temperature: TemperatureValue = 0.07,
        learn_temperature: bool = False,
        reduction: Reduction = "normalized",
        eps: Eps = 0.0,
        prototypes: nn.Module | None = None,
    ) -> None:
        super().__init__(
            n_classes=n_classes,
            temperature=temperature,
            learn_temperature=learn_temperature,
            reduction=reduction,
            eps=eps,
            prototypes=prototypes,
        )
        if not any((sample, unimodal, crossmodal)):
            raise ValueError("one of the weights sample, unimodal and crossmodal must be above 0, all are 0")
        self.sample, self.unimodal, self.crossmodal = sample, unimodal, crossmodal

    def compute(self, batch: Batch) -> Tensor:
        """The loss of embeddings and labels."""
        weights = (self.sample, self.unimodal, self.crossmodal)
        return hierarchical_anchor_loss(self.anchors(batch), weights=weights, **self.options())
