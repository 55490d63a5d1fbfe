"""Samples, unimodal and crossmodal prototypes as anchors."""

import torch
from torch import Tensor, nn

from mmfusion.losses.anchor_loss import AnchorLoss, Eps, Reduction
from mmfusion.losses.anchors import AnchorSet
from mmfusion.losses.batch import Batch
from mmfusion.losses.crossmodal_anchor import crossmodal_anchor_loss
from mmfusion.losses.sample_anchor import sample_anchor_loss
from mmfusion.losses.unimodal_anchor import unimodal_anchor_loss
from mmfusion.options import LossWeight, NClasses, TemperatureValue
from mmfusion.registry import losses


def hierarchical_anchor_loss(
    anchors: AnchorSet,
    *,
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
    temperature: float | Tensor = 0.07,
    reduction: Reduction = "normalized",
    eps: float = 0.0,
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
    check_weights(weights)
    formulas = (sample_anchor_loss, unimodal_anchor_loss, crossmodal_anchor_loss)
    terms = [
        weight * formula(anchors, temperature=temperature, reduction=reduction, eps=eps)
        for weight, formula in zip(weights, formulas, strict=True)
        if weight > 0
    ]
    return torch.stack(terms).sum()


def check_weights(weights: tuple[float, float, float]) -> None:
    """Raise an error for weights that are negative, not finite, or all 0.

    Raises:
        ValueError: With the weights.
    """
    if len(weights) != 3 or not all(0 <= weight < float("inf") for weight in weights) or not any(weights):
        raise ValueError(f"three finite weights are needed, none negative and not all 0, got {weights}")


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
        check_weights((sample, unimodal, crossmodal))
        self.sample, self.unimodal, self.crossmodal = sample, unimodal, crossmodal

    def compute(self, batch: Batch) -> Tensor:
        """The loss of embeddings and labels."""
        weights = (self.sample, self.unimodal, self.crossmodal)
        return hierarchical_anchor_loss(self.anchors(batch), weights=weights, **self.options())
