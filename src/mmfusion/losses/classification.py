"""Losses of logits and labels: their base classes and checks."""

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from mmfusion.losses.base import Loss
from mmfusion.losses.inputs import check_labels
from mmfusion.tokens import LossInputs
from mmfusion.utils.precision import full_precision

Balanced: TypeAlias = Literal["cross_entropy", "focal"]


GAMMA = 2.0
"""What the focal loss's paper found to work best."""


NOT_NEGATIVE = "finite and not negative"


class ClassificationLoss(Loss):
    """A loss of one output of classes: of the logits ``(b, k)`` and the labels ``(b,)``.

    Args:
        target: Name of the target and its output; None: the only output.
        n_classes: k, which the logits must have; None if a bank is to say it.
    """

    def __init__(self, *, target: str | None = None, n_classes: int | None = None) -> None:
        super().__init__()
        self.target = target
        self.n_classes = n_classes

    def loss(self, inputs: LossInputs) -> Tensor:
        """The loss from loss inputs with outputs."""
        name = self.target
        if name is None:
            if len(inputs.outputs) != 1:
                raise ValueError(
                    f"this term works on the logits of one output, there are {sorted(inputs.outputs)}: call it with "
                    "LossInputs that have outputs, and name one with target=..."
                )
            name = next(iter(inputs.outputs))
        for what, given in (("output", inputs.outputs), ("target", inputs.targets)):
            if name not in given:
                raise ValueError(f"there is no {what} {name!r}, there are {sorted(given)}: mend the term's target")
        return self.of_logits(inputs.outputs[name], inputs.targets[name])

    def of_logits(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss from the logits and the labels.

        Args:
            logits: Shape ``(b, k)``.
            labels: Shape ``(b,)`` int64; a case whose label is not in 0..k-1 is left out.

        Returns:
            A scalar.

        Raises:
            ValueError: If shapes or dtypes do not fit.
        """
        check_logits(logits, labels)
        if self.n_classes not in (None, logits.shape[1]):
            raise ValueError(f"logits must be of shape (b, {self.n_classes}), got {tuple(logits.shape)}")
        return self.formula(logits, labels)

    def formula(self, logits: Tensor, labels: Tensor) -> Tensor:
        """What a classification loss defines."""
        raise NotImplementedError(f"{type(self).__name__} must define formula()")


class WeightedLoss(ClassificationLoss):
    """A classification loss with class weights that are given.

    Args:
        class_weights: One a class, none negative and not all 0; None: 1 each.
        target: As in :class:`ClassificationLoss`.
        n_classes: As in :class:`ClassificationLoss`.

    Raises:
        ValueError: If a weight is out of range, or they are not as many as the classes.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        *,
        class_weights: Sequence[float] | None = None,
        target: str | None = None,
        n_classes: int | None = None,
    ) -> None:
        super().__init__(target=target, n_classes=n_classes)
        if class_weights is not None:
            class_weights = list(class_weights)
            if not all(0 <= weight < math.inf for weight in class_weights) or not any(class_weights):
                raise ValueError(f"class_weights must be finite, none negative and not all 0, got {class_weights}")
            if n_classes not in (None, len(class_weights)):
                raise ValueError(f"class_weights must be one a class, {n_classes}, got {len(class_weights)}")
        # In the state dict: a term built on the meta device gets them from there.
        self.register_buffer("class_weights", None if class_weights is None else torch.tensor(class_weights).float())


class CountedLoss(ClassificationLoss):
    """A classification loss that knows how many cases each class has in the training part.

    The counts are in the state dict, as integers, which keep their value when a model is cast to half precision. Until
    they are given, they are zeros there.

    Args:
        counts: Cases of each class, not all 0; None if :meth:`set_counts` is to say it.
        target: As in :class:`ClassificationLoss`.
        n_classes: As in :class:`ClassificationLoss`; without it, as many as there are counts.

    Attributes:
        counts: Shape ``(k,)``, int64; None while the number of classes is not known.
        has_counts: Whether the counts were given, or came with a state dict.

    Raises:
        ValueError: If a count is out of range, or they are not as many as the classes.
    """

    counts: Tensor | None

    def __init__(
        self, *, counts: Sequence[int] | None = None, target: str | None = None, n_classes: int | None = None
    ) -> None:
        super().__init__(target=target)
        self.has_counts = False
        self.register_buffer("counts", None)
        self.n_classes = n_classes
        if counts is not None:
            self.set_counts(counts)

    @property  # with the number of classes comes the buffer, in its final shape
    def n_classes(self) -> int | None:
        """k; None if a bank is to say it."""
        counts = self._buffers.get("counts")
        return None if counts is None else len(counts)

    @n_classes.setter
    def n_classes(self, n_classes: int | None) -> None:
        if n_classes is None or n_classes == self.n_classes:
            return
        if self.n_classes is not None:
            raise ValueError(f"this term was built for {self.n_classes} classes, got {n_classes}")
        self.register_buffer("counts", torch.zeros(n_classes, dtype=torch.int64))

    def set_counts(self, counts: Tensor | Sequence[int]) -> None:
        """Say how many cases each class has in the training part; earlier counts are forgotten.

        Args:
            counts: Shape ``(k,)``, whole numbers, none negative and not all 0.

        Raises:
            ValueError: If a count is out of range, or they are not as many as the classes.
        """
        values = torch.as_tensor(counts, dtype=torch.float64, device="cpu")
        whole = values.isfinite() & (values >= 0) & (values == values.round())
        if values.ndim != 1 or not bool(whole.all()) or not bool(values.any()):
            raise ValueError(
                f"counts must be whole numbers, one a class, none negative and not all 0, got {values.tolist()}"
            )
        if self.n_classes not in (None, len(values)):
            raise ValueError(f"counts must be one a class, {self.n_classes}, got {len(values)}: {values.tolist()}")
        self.n_classes = len(values)
        self.get_buffer("counts").copy_(values)
        self.has_counts = True

    def known_counts(self) -> Tensor:
        """The counts, shape ``(k,)`` int64.

        Raises:
            ValueError: If they were never given.
        """
        if self.counts is None or not self.has_counts:
            raise ValueError(
                f"{type(self).__name__} needs the number of training cases of each class: give counts=..., or call "
                "set_counts() once before training"
            )
        return self.counts

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Loading says the number of classes, if nobody has, and whether there are counts."""
        found = state_dict.get(f"{prefix}counts")
        if found is not None and self.n_classes is None:
            self.n_classes = len(found)
        super()._load_from_state_dict(state_dict, prefix, *args)
        if found is not None:
            self.has_counts = found.is_meta or bool(found.any())


def check_logits(logits: Tensor, labels: Tensor) -> None:
    """Refuse logits and labels of the wrong dtype or shape.

    Raises:
        ValueError: If logits are not floating point ``(b, k)``, or labels not ``(b,)`` int64.
    """
    if logits.ndim != 2 or logits.shape[1] == 0 or not logits.is_floating_point():
        raise ValueError(f"logits must be floating point of shape (b, k), got {logits.dtype} {tuple(logits.shape)}")
    check_labels(labels, len(logits))


def check_counts_fit(counts: Tensor, logits: Tensor) -> None:
    """Refuse counts of another number of classes than the logits have.

    Raises:
        ValueError: If they are not of shape ``(k,)``.
    """
    if counts.shape != logits.shape[1:]:
        raise ValueError(f"counts must be of shape ({logits.shape[1]},), got {tuple(counts.shape)}")


def check_balanced(loss: str, gamma: float | None) -> float:
    """The gamma of a class-balanced loss; cross-entropy is the focal loss with 0.

    Raises:
        ValueError: If the loss is unknown, or gamma is out of range or does not go with it.
    """
    if loss not in get_args(Balanced):
        raise ValueError(f"loss must be one of {get_args(Balanced)}, got {loss!r}")
    if loss == "cross_entropy":
        if gamma is not None:
            raise ValueError(f"gamma is that of the focal loss, got {gamma} for 'cross_entropy': leave it out")
        return 0.0
    gamma = GAMMA if gamma is None else gamma
    check_range("gamma", gamma, 0 <= gamma < math.inf, NOT_NEGATIVE)
    return gamma


def check_range(option: str, value: float, fits: bool, wanted: str) -> None:
    """Refuse a number that is out of range.

    Raises:
        ValueError: If it does not fit.
    """
    if not fits:
        raise ValueError(f"{option} must be {wanted}, got {value}")


def checked_logits(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits in full precision, labels in range, and which cases count; the logits of the others are zeros."""
    check_logits(logits, labels)
    counted = (labels >= 0) & (labels < logits.shape[1])
    # Replaced before anything is computed: 0 times NaN is NaN, in the gradient too.
    return (
        torch.where(counted.unsqueeze(1), full_precision(logits), 0.0),
        torch.where(counted, labels, 0),
        counted,
    )


def weights_of_classes(class_weights: Tensor | None, logits: Tensor) -> Tensor:
    """One weight a class, in the logits' dtype."""
    if class_weights is None:
        return logits.new_ones(logits.shape[1])
    if class_weights.shape != logits.shape[1:] or not class_weights.is_floating_point():
        raise ValueError(
            f"class_weights must be floating point of shape ({logits.shape[1]},), "
            f"got {class_weights.dtype} {tuple(class_weights.shape)}"
        )
    return class_weights.to(logits.dtype)
