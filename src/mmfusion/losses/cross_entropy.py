"""Cross-entropy with class weights and label smoothing."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfusion.losses.base import Loss
from mmfusion.losses.batch import Batch
from mmfusion.losses.classification import checked_logits, class_weights_tensor, logits_and_labels, weights_of_classes
from mmfusion.losses.functional import formula
from mmfusion.options import LossWeight, NClasses, Probability
from mmfusion.registry import losses
from mmfusion.utils.precision import without_autocast


@formula
def cross_entropy_loss(
    logits: Tensor, labels: Tensor, *, label_smoothing: Probability = 0.0, class_weights: Tensor | None = None
) -> Tensor:
    """Negative log share of the labelled class.

    As :func:`torch.nn.functional.cross_entropy`: with weights, the sum over the cases is divided by the sum of the
    weights of their classes; label smoothing (Szegedy et al. 2016, arXiv 1512.00567, section 7) spreads a share of the
    label over all classes, each with its own weight.

    Args:
        logits: Shape ``(b, k)``; half precision is computed in float32.
        labels: Shape ``(b,)`` int64. A case whose label is not in 0..k-1 is left out, and its logits may be anything.
        label_smoothing: The share that is spread over all classes, epsilon in the paper; 0 to 1.
        class_weights: Shape ``(k,)``, none negative; None: 1 each.

    Returns:
        A scalar; 0 without a case, or with weights of 0 alone.

    Raises:
        ValueError: If an option is out of range, or shapes or dtypes do not fit.
    """
    logits, labels, counted = checked_logits(logits, labels)
    weights = weights_of_classes(class_weights, logits)
    with without_autocast(logits):
        each = F.cross_entropy(logits, labels, weights, reduction="none", label_smoothing=label_smoothing)
        total = torch.where(counted, weights[labels], 0.0).sum()
        mean = torch.where(counted, each, 0.0).sum() / torch.where(total > 0, total, 1.0)
        return torch.where(total > 0, mean, 0.0)


@losses.register("cross_entropy")
class CrossEntropyLoss(Loss):
    """Negative log share of the labelled class; see :func:`cross_entropy_loss`.

    Args:
        label_smoothing: The share of the label that is spread over all classes; 0 to 1.
        class_weights: One per class, none negative and not all 0; None: 1 each.
        target: Name of the target and its output; None: the only output.
        n_classes: k, which the logits must have; None: any number.

    Raises:
        ValueError: If an option is out of range, or the weights are not as many as the classes.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        *,
        label_smoothing: Probability = 0.0,
        class_weights: Sequence[LossWeight] | None = None,
        target: str | None = None,
        n_classes: NClasses | None = None,
    ) -> None:
        super().__init__(n_classes=n_classes)
        self.label_smoothing = label_smoothing
        self.target = target
        self.register_buffer("class_weights", class_weights_tensor(class_weights, n_classes))

    def compute(self, batch: Batch) -> Tensor:
        """The loss of the target's logits and labels."""
        logits, labels = logits_and_labels(batch, self.target, self.n_classes)
        return cross_entropy_loss(
            logits, labels, label_smoothing=self.label_smoothing, class_weights=self.class_weights
        )
