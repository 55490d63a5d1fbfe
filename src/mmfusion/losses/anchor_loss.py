"""Anchor losses: options and reduction."""

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor, nn

from mmfusion.losses.anchors import AnchorSet
from mmfusion.losses.base import Loss, Need
from mmfusion.losses.batch import Batch
from mmfusion.losses.temperature import Temperature
from mmfusion.option_checks import checked
from mmfusion.options import NClasses, Range, TemperatureValue

Reduction: TypeAlias = Literal["normalized", "published"]
Eps: TypeAlias = Annotated[float, Range(0, 1)]


class AnchorLoss(Loss):
    """A loss of anchors.

    Args:
        n_classes: k; None if a bank sets it.
        temperature: Divides the cosine similarity; positive.
        learn_temperature: Make it a parameter that starts there; see :class:`~mmfusion.losses.temperature.Temperature`.
        reduction: ``"normalized"`` over modalities and classes in the batch, or as ``"published"``.
        eps: Added inside the logarithm; 0 is exact, 1e-8 as published.
        prototypes: Where they come from, :class:`~mmfusion.losses.memory.MovingPrototypes` or
            :class:`~mmfusion.losses.memory.MemoryPrototypes`; None: those that the losses of a bank share.

    Raises:
        ValueError: If an option is out of range.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"n_classes"})

    @checked
    def __init__(
        self,
        *,
        n_classes: NClasses | None = None,
        temperature: TemperatureValue = 0.07,
        learn_temperature: bool = False,
        reduction: Reduction = "normalized",
        eps: Eps = 0.0,
        prototypes: nn.Module | None = None,
    ) -> None:
        super().__init__(n_classes=n_classes)
        self.temperature = Temperature(temperature, learned=learn_temperature)
        self.reduction: Reduction = reduction
        self.eps = eps
        self.prototypes = prototypes

    def anchors(self, batch: Batch) -> AnchorSet:
        """What the anchor losses share.

        Raises:
            ValueError: If shapes or dtypes do not fit, or the number of classes is unknown.
        """
        return batch.anchors(self.n_classes, self.prototypes)

    def options(self) -> dict[str, Any]:
        """The options of the formula now."""
        return {"temperature": self.temperature(), "reduction": self.reduction, "eps": self.eps}


def reduced(losses: Tensor, present: Tensor, reduction: Reduction, n: int = 1, eps: float = 0.0) -> Tensor:
    """The sum over n plus eps, as published, or the mean, of what is present.

    Args:
        losses: Any shape.
        present: The same shape, bool.
        reduction: ``"published"`` or ``"normalized"``.
        n: What the published sum is divided by.
        eps: What is added to it.
    """
    total = torch.where(present, losses, 0.0).sum()
    return eps + total / n if reduction == "published" else total / present.sum().clamp(min=1)
