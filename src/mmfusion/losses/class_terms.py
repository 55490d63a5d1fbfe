"""The classification losses as terms: each can be the loss of a target, or stand in a bank."""

import math
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor

from mmfusion.losses.classification import (
    GAMMA,
    NOT_NEGATIVE,
    Balanced,
    check_balanced,
    check_logits,
    check_range,
    class_balanced,
    cross_entropy,
    focal,
    logit_adjusted,
)
from mmfusion.losses.term import Term
from mmfusion.options import Cases, LossWeight, NClasses, NotNegative, Probability, Range
from mmfusion.registry import losses
from mmfusion.tokens import LossInputs


class Classification(Term):
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


class Weighted(Classification):
    """A classification loss with class weights that are given.

    Args:
        class_weights: One a class, none negative and not all 0; None: 1 each.
        target: As in :class:`Classification`.
        n_classes: As in :class:`Classification`.

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


@losses.register("cross_entropy")
class CrossEntropy(Weighted):
    """Negative log share of the labelled class; see :func:`cross_entropy`.

    Args:
        label_smoothing: The share of the label that is spread over all classes; 0 to 1.
        class_weights: As in :class:`Weighted`, and so are the others.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        *,
        label_smoothing: Probability = 0.0,
        class_weights: Sequence[LossWeight] | None = None,
        target: str | None = None,
        n_classes: NClasses | None = None,
    ) -> None:
        super().__init__(class_weights=class_weights, target=target, n_classes=n_classes)
        check_range("label_smoothing", label_smoothing, 0 <= label_smoothing <= 1, "0 to 1")
        self.label_smoothing = label_smoothing

    def formula(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The cross-entropy."""
        return cross_entropy(logits, labels, label_smoothing=self.label_smoothing, class_weights=self.class_weights)

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"target={self.target!r}, label_smoothing={self.label_smoothing}"


@losses.register("focal")
class Focal(Weighted):
    """Cross-entropy in which a case that is told well counts less; see :func:`focal`.

    Args:
        gamma: How much less, not negative.
        class_weights: As in :class:`Weighted`, and so are the others.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        *,
        gamma: NotNegative = GAMMA,
        class_weights: Sequence[LossWeight] | None = None,
        target: str | None = None,
        n_classes: NClasses | None = None,
    ) -> None:
        super().__init__(class_weights=class_weights, target=target, n_classes=n_classes)
        check_range("gamma", gamma, 0 <= gamma < math.inf, NOT_NEGATIVE)
        self.gamma = gamma

    def formula(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The focal loss."""
        return focal(logits, labels, gamma=self.gamma, class_weights=self.class_weights)

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"target={self.target!r}, gamma={self.gamma}"


class Counted(Classification):
    """A classification loss that knows how many cases each class has in the training part.

    The counts are in the state dict, as integers, which keep their value when a model is cast to half precision. Until
    they are given, they are zeros there.

    Args:
        counts: Cases of each class, not all 0; None if :meth:`set_counts` is to say it.
        target: As in :class:`Classification`.
        n_classes: As in :class:`Classification`; without it, as many as there are counts.

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


@losses.register("class_balanced")
class ClassBalanced(Counted):
    """Weights by the effective number of cases; see :func:`class_balanced`.

    Args:
        beta: 0 to below 1: from equal weights to the inverse of the counts.
        loss: ``"cross_entropy"`` or ``"focal"``.
        gamma: Of the focal loss, not negative; None: 2.
        counts: As in :class:`Counted`, and so are the others.

    Raises:
        ValueError: If an option is out of range or does not go with another.
    """

    def __init__(
        self,
        *,
        beta: Annotated[float, Range(0, 1, below=True)] = 0.999,
        loss: Balanced = "cross_entropy",
        gamma: NotNegative | None = None,
        counts: Sequence[Cases] | None = None,
        target: str | None = None,
        n_classes: NClasses | None = None,
    ) -> None:
        super().__init__(counts=counts, target=target, n_classes=n_classes)
        check_range("beta", beta, 0 <= beta < 1, "from 0 to below 1")
        check_balanced(loss, gamma)
        self.beta = beta
        self.balanced: Balanced = loss
        self.gamma = gamma

    def formula(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The weighted loss."""
        counts = self.known_counts()
        return class_balanced(logits, labels, counts, beta=self.beta, loss=self.balanced, gamma=self.gamma)

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"target={self.target!r}, beta={self.beta}, loss={self.balanced!r}, gamma={self.gamma}"


@losses.register("logit_adjusted")
class LogitAdjusted(Counted):
    """Cross-entropy of logits to which the prior is added; see :func:`logit_adjusted`.

    Args:
        tau: How much the prior counts, not negative.
        label_smoothing: The share of the label that is spread over all classes; 0 to 1.
        counts: As in :class:`Counted`, and so are the others.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        *,
        tau: NotNegative = 1.0,
        label_smoothing: Probability = 0.0,
        counts: Sequence[Cases] | None = None,
        target: str | None = None,
        n_classes: NClasses | None = None,
    ) -> None:
        super().__init__(counts=counts, target=target, n_classes=n_classes)
        check_range("tau", tau, 0 <= tau < math.inf, NOT_NEGATIVE)
        check_range("label_smoothing", label_smoothing, 0 <= label_smoothing <= 1, "0 to 1")
        self.tau = tau
        self.label_smoothing = label_smoothing

    def formula(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The cross-entropy of the adjusted logits."""
        counts = self.known_counts()
        return logit_adjusted(logits, labels, counts, tau=self.tau, label_smoothing=self.label_smoothing)

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"target={self.target!r}, tau={self.tau}, label_smoothing={self.label_smoothing}"
