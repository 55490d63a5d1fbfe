"""The anchor losses as terms of a loss bank."""

from typing import Annotated

from torch import Tensor, nn

from mmfusion.losses.anchors import (
    REDUCTIONS,
    AnchorSet,
    Reduction,
    anchor_set,
    check_weights,
    crossmodal_anchor_loss,
    hierarchical_anchor_loss,
    sample_anchor_loss,
    unimodal_anchor_loss,
)
from mmfusion.losses.inputs import single_target
from mmfusion.losses.memory import PrototypeSource
from mmfusion.losses.temperature import Temperature
from mmfusion.losses.term import Term
from mmfusion.options import LossWeight, NClasses, Range, TemperatureValue
from mmfusion.registry import losses
from mmfusion.tokens import LossInputs


class AnchorTerm(Term):
    """An anchor loss as a term.

    Args:
        n_classes: k; None if a bank is to say it.
        temperature: Divides the cosine similarity; positive.
        learn_temperature: Make it a parameter that starts there; see :class:`~mmfusion.losses.temperature.Temperature`.
        reduction: ``"normalised"`` over modalities and classes in the batch, or as ``"published"``.
        eps: Added inside the logarithm; 0 is exact, 1e-8 as published.
        prototypes: Where they come from, :class:`~mmfusion.losses.memory.MovingPrototypes` or
            :class:`~mmfusion.losses.memory.MemoryPrototypes`; None: the batch, or what the bank says.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        *,
        n_classes: NClasses | None = None,
        temperature: TemperatureValue = 0.07,
        learn_temperature: bool = False,
        reduction: Reduction = "normalised",
        eps: Annotated[float, Range(0, 1)] = 0.0,
        prototypes: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction must be one of {REDUCTIONS}, got {reduction!r}")
        if eps < 0:
            raise ValueError(f"eps must not be negative, got {eps}")
        self.n_classes = n_classes
        self.temperature = Temperature(temperature, learned=learn_temperature)
        self.reduction: Reduction = reduction
        self.eps = eps
        self.prototypes = prototypes

    def loss(self, inputs: LossInputs) -> Tensor:
        """The loss from loss inputs with one target of classes."""
        return self.of_anchors(anchors_of(inputs, self.n_classes, self.prototypes))

    def of_anchors(self, anchors: AnchorSet) -> Tensor:
        """The loss from what the anchor losses share."""
        raise NotImplementedError(f"{type(self).__name__} must define of_anchors()")

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"reduction={self.reduction!r}, eps={self.eps}"


def anchors_of(inputs: LossInputs, n_classes: int | None, source: PrototypeSource | None = None) -> AnchorSet:
    """What the anchor losses share.

    Raises:
        ValueError: If shapes or dtypes do not fit, or the number of classes is not known.
    """
    if n_classes is None:
        raise ValueError(
            "the number of classes is not known: give it to the term or to its bank; the anchor losses need a single "
            "target of classes"
        )
    return anchor_set(inputs.embeddings, single_target(inputs), n_classes, inputs.present, source=source)


@losses.register("sample_anchor")
class SampleAnchor(AnchorTerm):
    """Samples as anchors; see :func:`~mmfusion.losses.anchors.sample_anchor_loss`."""

    def of_anchors(self, anchors: AnchorSet) -> Tensor:
        """The loss from what the anchor losses share."""
        return sample_anchor_loss(anchors, temperature=self.temperature(), reduction=self.reduction, eps=self.eps)


@losses.register("unimodal_anchor")
class UnimodalAnchor(AnchorTerm):
    """Unimodal prototypes as anchors; see :func:`~mmfusion.losses.anchors.unimodal_anchor_loss`."""

    def of_anchors(self, anchors: AnchorSet) -> Tensor:
        """The loss from what the anchor losses share."""
        return unimodal_anchor_loss(anchors, temperature=self.temperature(), reduction=self.reduction, eps=self.eps)


@losses.register("crossmodal_anchor")
class CrossmodalAnchor(AnchorTerm):
    """Crossmodal prototypes as anchors; see :func:`~mmfusion.losses.anchors.crossmodal_anchor_loss`."""

    def of_anchors(self, anchors: AnchorSet) -> Tensor:
        """The loss from what the anchor losses share."""
        return crossmodal_anchor_loss(anchors, temperature=self.temperature(), reduction=self.reduction, eps=self.eps)


@losses.register("hierarchical_anchor")
class HierarchicalAnchor(AnchorTerm):
    """All three levels in one; see :func:`~mmfusion.losses.anchors.hierarchical_anchor_loss`.

    Args:
        sample: Weight of the sample anchors (w_sam); 0 leaves them out.
        unimodal: Weight of the unimodal prototypes as anchors (w_up).
        crossmodal: Weight of the crossmodal prototypes as anchors (w_cp).
        n_classes: As in :class:`AnchorTerm`, and so are the others.

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
