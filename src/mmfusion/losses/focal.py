"""Focal loss."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mmfusion.losses.base import Loss
from mmfusion.losses.batch import Batch
from mmfusion.losses.classification import checked_logits, class_weights_tensor, logits_and_labels, weights_of_classes
from mmfusion.losses.functional import formula, masked_logsumexp, negative_log_share
from mmfusion.options import LossWeight, NClasses, NotNegative
from mmfusion.registry import losses
from mmfusion.utils.precision import without_autocast


@formula
def focal_loss(
    logits: Tensor, labels: Tensor, *, gamma: NotNegative = 2.0, class_weights: Tensor | None = None
) -> Tensor:
    """Cross-entropy in which an easy case counts less: ``-w_y (1 - p_y)^gamma log p_y``.

    The focal loss (Lin et al. 2017, arXiv 1708.02002, equations 4 and 5; w is alpha_t). ``log p`` and ``log(1 - p)``
    are both computed from the difference of the logit and the log-sum-exp of the others, so that value and gradient
    keep their digits where p is nearly 0 or 1, for any gamma.

    NOTE[DIFF] The paper has a sigmoid for each class; here p is the softmax over the classes. With two classes, it is
    the paper's formula on the difference of the logits. NOTE[DIFF] The paper divides the sum by the number of anchors
    that are assigned to an object; here every case is assigned, and it is the mean.

    Args:
        logits: Shape ``(b, k)``; half precision is computed in float32.
        labels: Shape ``(b,)`` int64. A case whose label is not in 0..k-1 is left out, and its logits may be anything.
        gamma: How much less, not negative; 0 is cross-entropy.
        class_weights: Shape ``(k,)``; None: 1 each.

    Returns:
        A scalar, the sum over the cases divided by their number, not by their weights; 0 without a case.

    Raises:
        ValueError: If gamma is negative, or shapes or dtypes do not fit.
    """
    logits, labels, counted = checked_logits(logits, labels)
    weights = weights_of_classes(class_weights, logits)
    with without_autocast(logits):
        labeled = logits.gather(1, labels.unsqueeze(1)).squeeze(1)
        is_labeled = labels.unsqueeze(1) == torch.arange(logits.shape[1], device=labels.device)
        others = masked_logsumexp(logits, ~is_labeled)
        log_rest = -negative_log_share(others, labeled)  # log(1 - p)
        each = weights[labels] * (gamma * log_rest).exp() * negative_log_share(labeled, others)
        return torch.where(counted, each, 0.0).sum() / counted.sum().clamp(min=1)


@losses.register("focal")
class FocalLoss(Loss):
    """Cross-entropy in which an easy case counts less; see :func:`focal_loss`.

    Args:
        gamma: How much less, not negative.
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
        gamma: NotNegative = 2.0,
        class_weights: Sequence[LossWeight] | None = None,
        target: str | None = None,
        n_classes: NClasses | None = None,
    ) -> None:
        super().__init__(n_classes=n_classes)
        self.gamma = gamma
        self.target = target
        self.register_buffer("class_weights", class_weights_tensor(class_weights, n_classes))

    def compute(self, batch: Batch) -> Tensor:
        """The loss of the target's logits and labels."""
        logits, labels = logits_and_labels(batch, self.target, self.n_classes)
        return focal_loss(logits, labels, gamma=self.gamma, class_weights=self.class_weights)
