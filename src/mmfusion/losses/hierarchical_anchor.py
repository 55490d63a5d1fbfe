"""Samples, unimodal and crossmodal prototypes as anchors."""

from typing import Annotated

import torch
from torch import Tensor, nn

from mmfusion.losses.anchors import AnchorLoss, AnchorSet, Reduction
from mmfusion.losses.crossmodal_anchor import crossmodal_anchor_loss
from mmfusion.losses.sample_anchor import sample_anchor_loss
from mmfusion.losses.unimodal_anchor import unimodal_anchor_loss
from mmfusion.options import LossWeight, NClasses, Range, TemperatureValue
from mmfusion.registry import losses


def hierarchical_anchor_loss(
    anchors: AnchorSet,
    *,
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
    temperature: float | Tensor = 0.07,
    reduction: Reduction = "normalised",
    eps: float = 0.0,
) -> Tensor:
    """The weighted sum of the sample, the unimodal and the crossmodal anchor loss (CFCML, HRM).

    Args:
        anchors: From :func:`anchor_set`.
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
    losses = (sample_anchor_loss, unimodal_anchor_loss, crossmodal_anchor_loss)
    terms = [
        weight * loss(anchors, temperature=temperature, reduction=reduction, eps=eps)
        for weight, loss in zip(weights, losses, strict=True)
        if weight > 0
    ]
    return torch.stack(terms).sum()


def check_weights(weights: tuple[float, float, float]) -> None:
    """Refuse weights that are negative, not finite, or all 0.

    Raises:
        ValueError: With the weights.
    """
    if len(weights) != 3 or not all(0 <= weight < float("inf") for weight in weights) or not any(weights):
        raise ValueError(f"three finite weights are needed, none negative and not all 0, got {weights}")


@losses.register("hierarchical_anchor")
class HierarchicalAnchorLoss(AnchorLoss):
    """All three levels in one; see :func:`~mmfusion.losses.anchors.hierarchical_anchor_loss`.

    Args:
        sample: Weight of the sample anchors (w_sam); 0 leaves them out.
        unimodal: Weight of the unimodal prototypes as anchors (w_up).
        crossmodal: Weight of the crossmodal prototypes as anchors (w_cp).
        n_classes: As in :class:`AnchorLoss`, and so are the others.

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
        reduction: Reduction = "normalised",
        eps: Annotated[float, Range(0, 1)] = 0.0,
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
        self.weights = (sample, unimodal, crossmodal)
        check_weights(self.weights)

    def of_anchors(self, anchors: AnchorSet) -> Tensor:
        """The loss from what the anchor losses share."""
        return hierarchical_anchor_loss(
            anchors, weights=self.weights, temperature=self.temperature(), reduction=self.reduction, eps=self.eps
        )

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"weights={self.weights}, {super().extra_repr()}"
