"""The anchors of CFCML: embeddings, labels and prototypes, computed once a batch; base class."""

import functools
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, TypeVar, cast

from torch import Tensor, nn

from mmfusion.losses.base import Loss
from mmfusion.losses.functional import check_temperature
from mmfusion.losses.inputs import Embeddings, check_labels, single_target, units_of
from mmfusion.losses.memory import PrototypeSource
from mmfusion.losses.prototypes import Prototypes, membership, prototypes_of_units
from mmfusion.losses.temperature import Temperature
from mmfusion.options import NClasses, Range, TemperatureValue
from mmfusion.tokens import LossInputs, Present
from mmfusion.utils.precision import without_autocast

Reduction: TypeAlias = Literal["normalised", "published"]


REDUCTIONS: tuple[Reduction, ...] = ("normalised", "published")


Formula = TypeVar("Formula", bound=Callable[..., Tensor])


class AnchorSet(NamedTuple):
    """What the three losses share; computed once a batch.

    Attributes:
        units: Embeddings of length 1, shape ``(m, b, d)``; zero for a case that lacks the modality.
        labels: Shape ``(b,)``, int64.
        member: Which case is of which class, shape ``(b, k)``, bool.
        counted: Which case counts in which modality, shape ``(m, b)``, bool: it is there and its label is in range.
        prototypes: Of the batch, or of a source that remembers earlier ones.
    """

    units: Tensor
    labels: Tensor
    member: Tensor
    counted: Tensor
    prototypes: Prototypes


def anchor_set(
    embeddings: Embeddings,
    labels: Tensor,
    n_classes: int,
    present: Present | Tensor | None = None,
    *,
    source: PrototypeSource | None = None,
) -> AnchorSet:
    """Normalise the embeddings and find the prototypes, once for all three losses.

    Args:
        embeddings: A dict or a sequence of ``(b, d)``, or ``(m, b, d)``.
        labels: Shape ``(b,)`` int64. A case whose label is not in 0..k-1 is ignored.
        n_classes: k.
        present: Which cases have which modality.
        source: Where the prototypes come from; None: this batch. See :mod:`mmfusion.losses.memory`.

    Returns:
        What :func:`sample_anchor_loss`, :func:`unimodal_anchor_loss` and :func:`crossmodal_anchor_loss` take.

    Raises:
        ValueError: If shapes or dtypes do not fit.
    """
    units, there = units_of(embeddings, present)
    check_labels(labels, units.shape[1])
    member = membership(labels, n_classes)
    counted = there & member.any(-1)
    with without_autocast(units):
        found = prototypes_of_units(units, member, counted) if source is None else source(units, labels, counted)
        return AnchorSet(units, labels, member, counted, found)


def without_autocast_of_units(loss: Formula) -> Formula:
    @functools.wraps(loss)
    def wrapped(anchors: AnchorSet, **options: Any) -> Tensor:
        with without_autocast(anchors.units):
            return loss(anchors, **options)

    return cast("Formula", wrapped)


def check_anchor_options(temperature: float | Tensor, reduction: str) -> None:
    check_temperature(temperature)
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {REDUCTIONS}, got {reduction!r}")


class AnchorLoss(Loss):
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
