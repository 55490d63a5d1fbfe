"""Cross-entropy or focal loss, weighted by the effective number of cases."""

import math
from collections.abc import Sequence
from typing import Annotated, TypeAlias

import torch
from torch import Tensor

from mmfusion.losses.batch import Batch
from mmfusion.losses.class_counts import ClassCount, CountedLoss
from mmfusion.losses.classification import check_logits
from mmfusion.losses.focal import focal_loss
from mmfusion.losses.functional import formula
from mmfusion.options import NClasses, NotNegative, Range
from mmfusion.registry import losses
from mmfusion.utils.precision import full_precision
from mmfusion.utils.tensor_checks import require

Beta: TypeAlias = Annotated[float, Range(0, 1, below=True)]
"""How far the effective number goes with the counts."""


@formula
def effective_number_weights(counts: Tensor, *, beta: Beta = 0.999) -> Tensor:
    """Class weights in inverse proportion to the effective number of cases.

    ``1 / E_n`` with ``E_n = (1 - beta^n) / (1 - beta)``, scaled to sum to the number of classes (Cui et al. 2019,
    arXiv 1901.05555, sections 3 and 4). Computed without cancellation for beta as near to 1 as a double can be.

    NOTE[DIFF] A class without a case, for which the paper divides by 0, has the weight 0, and the others sum to the
    number of classes that have one.

    Args:
        counts: Cases of each class, shape ``(k,)``, none negative.
        beta: 0 to below 1: from equal weights to the inverse of the counts.

    Returns:
        Shape ``(k,)``, in the counts' dtype if that is float32 or float64, in float32 otherwise.

    Raises:
        ValueError: If beta is out of range, or the counts are not of shape ``(k,)``.
    """
    require("counts", counts, "numeric", "k")
    counts = full_precision(counts) if counts.is_floating_point() else counts.float()
    counted = counts > 0
    log_beta = math.log(beta) if beta > 0 else -math.inf
    # The factor of 1 - beta goes with the scaling.
    number = -torch.expm1(torch.where(counted, counts, 1.0) * log_beta)
    weights = torch.where(counted, 1 / number, 0.0)
    return weights * (counted.sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny))


@formula
def class_balanced_loss(
    logits: Tensor,
    labels: Tensor,
    counts: Tensor,
    *,
    beta: Beta = 0.999,
    gamma: NotNegative = 0.0,
) -> Tensor:
    """Cross-entropy or focal loss, weighted by the effective numbers of cases (Cui et al. 2019, arXiv 1901.05555).

    The weighted sum is divided by the number of cases, as in the paper's public code, and not by their weights: a batch
    with a rare case pulls more than one without.

    NOTE[DIFF] The paper's focal loss has a sigmoid for each class; see :func:`~mmfusion.losses.focal.focal_loss`.

    Args:
        logits: Shape ``(b, k)``; half precision is computed in float32.
        labels: Shape ``(b,)`` int64. A case whose label is not in 0..k-1 is left out, and so is one of a class without
            a count.
        counts: Cases of each class in the training set, shape ``(k,)``.
        beta: As in :func:`effective_number_weights`.
        gamma: As in :func:`~mmfusion.losses.focal.focal_loss`; 0 is cross-entropy.

    Returns:
        A scalar; 0 without a case.

    Raises:
        ValueError: If an option is out of range, or shapes or dtypes do not fit.
    """
    check_logits(logits, labels)
    require("counts", counts, "numeric", logits.shape[1])
    weights = effective_number_weights(counts.to(full_precision(logits).dtype), beta=beta)
    seen = (weights > 0)[labels.clamp(0, len(weights) - 1)]
    return focal_loss(logits, torch.where(seen, labels, -1), gamma=gamma, class_weights=weights)


@losses.register("class_balanced")
class ClassBalancedLoss(CountedLoss):
    """Weights by the effective number of cases; see :func:`class_balanced_loss`.

    Args:
        beta: 0 to below 1: from equal weights to the inverse of the counts.
        gamma: Of the focal loss, not negative; 0 is cross-entropy.
        counts: As in :class:`~mmfusion.losses.class_counts.CountedLoss`, and so are the others.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        *,
        beta: Beta = 0.999,
        gamma: NotNegative = 0.0,
        counts: Sequence[ClassCount] | None = None,
        target: str | None = None,
        n_classes: NClasses | None = None,
    ) -> None:
        super().__init__(counts=counts, target=target, n_classes=n_classes)
        self.beta = beta
        self.gamma = gamma

    def compute(self, batch: Batch) -> Tensor:
        """The loss of the target's logits and labels."""
        logits, labels, counts = self.logits_labels_counts(batch)
        return class_balanced_loss(logits, labels, counts, beta=self.beta, gamma=self.gamma)
