"""Losses of logits and labels: base class."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mmfusion.losses.batch import Batch
from mmfusion.utils.precision import full_precision
from mmfusion.utils.tensor_checks import require


def logits_and_labels(batch: Batch, target: str | None, n_classes: int | None = None) -> tuple[Tensor, Tensor]:
    """The logits and the labels of one target.

    Args:
        batch: With outputs and targets.
        target: Its name; None: the only one.
        n_classes: k, which the logits must have; None: any number.

    Returns:
        Logits ``(b, k)`` and labels ``(b,)``.

    Raises:
        ValueError: If there is no such target, or shapes or dtypes do not fit.
    """
    if target is None:
        if len(batch.outputs) != 1:
            raise ValueError(
                f"this loss works on the logits of one output, got {sorted(batch.outputs)}: call it with logits or "
                "with LossInputs that have outputs, and name one with target=..."
            )
        target = next(iter(batch.outputs))
    for what, given in (("output", batch.outputs), ("target", batch.targets)):
        if target not in given:
            raise ValueError(f"unknown {what} {target!r}, expected one of {sorted(given)}: fix the loss's target")
    logits, labels = batch.outputs[target], batch.targets[target]
    check_logits(logits, labels)
    require("logits", logits, "floating point", "b", n_classes or "k")
    return logits, labels


def check_logits(logits: Tensor, labels: Tensor) -> None:
    """Raise an error for logits and labels of the wrong dtype or shape.

    Raises:
        ValueError: If logits are not floating point ``(b, k)``, or labels not ``(b,)`` int64.
    """
    require("logits", logits, "floating point", "b", "k")
    if not logits.shape[1]:
        raise ValueError(f"logits must be of one class at least, got {tuple(logits.shape)}")
    require("labels", labels, torch.int64, len(logits))


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
    """One weight per class, in the logits' dtype; 1 each without any.

    Raises:
        ValueError: If they are not floating point of shape ``(k,)``.
    """
    if class_weights is None:
        return logits.new_ones(logits.shape[1])
    require("class_weights", class_weights, "floating point", logits.shape[1])
    return class_weights.to(logits.dtype)


def class_weights_tensor(class_weights: Sequence[float] | None, n_classes: int | None) -> Tensor | None:
    """Class weights of an option, for a buffer: a loss built on the meta device gets them from the state dict.

    Raises:
        ValueError: If one is negative or not finite, all are 0, or they are not as many as the classes.
    """
    if class_weights is None:
        return None
    class_weights = list(class_weights)
    if not all(0 <= weight < math.inf for weight in class_weights) or not any(class_weights):
        raise ValueError(f"class_weights must be finite, none negative and not all 0, got {class_weights}")
    if n_classes not in (None, len(class_weights)):
        raise ValueError(f"class_weights must be one per class, {n_classes}, got {len(class_weights)}")
    return torch.tensor(class_weights).float()
