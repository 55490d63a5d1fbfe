"""The anchor losses as modules: terms of a loss bank, or callables on embeddings and labels."""

from torch import Tensor, nn

from mmfusion.losses.anchors import (
    REDUCTIONS,
    AnchorSet,
    Reduction,
    anchor_set,
    crossmodal_anchor_loss,
    sample_anchor_loss,
    unimodal_anchor_loss,
)
from mmfusion.losses.functional import check_temperature
from mmfusion.losses.prototypes import Embeddings
from mmfusion.registry import losses
from mmfusion.tokens import LossInputs, Present


class AnchorTerm(nn.Module):
    """An anchor loss as a term.

    A term is called with :class:`~mmfusion.tokens.LossInputs`, or with embeddings and labels as
    :func:`~mmfusion.losses.anchors.anchor_set` takes them. A bank tells its number of classes to the terms that were
    built without one.

    Args:
        n_classes: k; None if a bank is to say it.
        temperature: Divides the cosine similarity; positive.
        reduction: ``"normalised"`` over modalities and classes in the batch, or as ``"published"``.
        eps: Added inside the logarithm; 0 is exact, 1e-8 as published.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        *,
        n_classes: int | None = None,
        temperature: float = 0.07,
        reduction: Reduction = "normalised",
        eps: float = 0.0,
    ) -> None:
        super().__init__()
        check_temperature(temperature)
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction must be one of {REDUCTIONS}, got {reduction!r}")
        if eps < 0:
            raise ValueError(f"eps must not be negative, got {eps}")
        self.n_classes = n_classes
        self.temperature = temperature
        self.reduction: Reduction = reduction
        self.eps = eps

    def forward(
        self,
        inputs: LossInputs | Embeddings,
        labels: Tensor | None = None,
        present: Present | Tensor | None = None,
    ) -> Tensor:
        """The loss of a batch.

        Args:
            inputs: Loss inputs with one target of classes, or embeddings.
            labels: Shape ``(b,)`` int64; with embeddings only.
            present: Which cases have which modality; with embeddings only.

        Returns:
            A scalar.

        Raises:
            ValueError: If shapes or dtypes do not fit, or the number of classes is not known.
        """
        return self.compute(anchors_of(inputs, labels, present, self.n_classes))

    def compute(self, anchors: AnchorSet) -> Tensor:
        """The loss from what the anchor losses share."""
        raise NotImplementedError("an anchor term defines compute()")  # abstract: AnchorTerm itself is not a loss

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"temperature={self.temperature}, reduction={self.reduction!r}, eps={self.eps}"


def anchors_of(
    inputs: LossInputs | Embeddings,
    labels: Tensor | None,
    present: Present | Tensor | None,
    n_classes: int | None,
) -> AnchorSet:
    """What the anchor losses share, from either way of calling a term."""
    if n_classes is None:
        raise ValueError("the number of classes is not known: give the term n_classes, or put it into a LossBank")
    if isinstance(inputs, LossInputs):
        return anchors_of(inputs.embeddings, single_target(inputs), inputs.present, n_classes)
    if labels is None:
        raise ValueError("labels are needed beside embeddings: call term(embeddings, labels)")
    return anchor_set(inputs, labels, n_classes, present)


def single_target(inputs: LossInputs) -> Tensor:
    """The labels of the only target.

    Raises:
        ValueError: If there are several.
    """
    if len(inputs.targets) != 1:
        raise ValueError(f"an anchor term works on one target, there are {sorted(inputs.targets)}")
    return next(iter(inputs.targets.values()))


@losses.register("sample_anchor")
class SampleAnchor(AnchorTerm):
    """Samples as anchors; see :func:`~mmfusion.losses.anchors.sample_anchor_loss`."""

    def compute(self, anchors: AnchorSet) -> Tensor:
        """The loss from what the anchor losses share."""
        return sample_anchor_loss(anchors, temperature=self.temperature, reduction=self.reduction, eps=self.eps)


@losses.register("unimodal_anchor")
class UnimodalAnchor(AnchorTerm):
    """Unimodal prototypes as anchors; see :func:`~mmfusion.losses.anchors.unimodal_anchor_loss`."""

    def compute(self, anchors: AnchorSet) -> Tensor:
        """The loss from what the anchor losses share."""
        return unimodal_anchor_loss(anchors, temperature=self.temperature, reduction=self.reduction, eps=self.eps)


@losses.register("crossmodal_anchor")
class CrossmodalAnchor(AnchorTerm):
    """Crossmodal prototypes as anchors; see :func:`~mmfusion.losses.anchors.crossmodal_anchor_loss`."""

    def compute(self, anchors: AnchorSet) -> Tensor:
        """The loss from what the anchor losses share."""
        return crossmodal_anchor_loss(anchors, temperature=self.temperature, reduction=self.reduction, eps=self.eps)
