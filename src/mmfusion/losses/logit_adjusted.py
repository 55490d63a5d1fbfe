"""Cross-entropy of logits to which the prior is added."""

from collections.abc import Sequence

from torch import Tensor

from mmfusion.losses.batch import Batch
from mmfusion.losses.class_counts import ClassCount, CountedLoss
from mmfusion.losses.classification import check_logits
from mmfusion.losses.cross_entropy import cross_entropy_loss
from mmfusion.losses.functional import formula
from mmfusion.options import NClasses, NotNegative, Probability
from mmfusion.registry import losses
from mmfusion.utils.precision import full_precision
from mmfusion.utils.tensor_checks import require


@formula
def logit_adjusted_loss(
    logits: Tensor, labels: Tensor, counts: Tensor, *, tau: NotNegative = 1.0, label_smoothing: Probability = 0.0
) -> Tensor:
    """Cross-entropy of ``logits + tau log(prior)``: the logits learn what the classes' sizes do not say.

    Menon et al. 2021 (arXiv 2007.07314, equation 10). The logits themselves are then the scores of balanced classes.

    NOTE[DIFF] A class without a case, of which the paper's prior has no logarithm, counts as one of 1 case.

    Args:
        logits: Shape ``(b, k)``; half precision is computed in float32.
        labels: Shape ``(b,)`` int64. A case whose label is not in 0..k-1 is left out, and its logits may be anything.
        counts: Cases of each class in the training set, shape ``(k,)``.
        tau: How much the prior counts, not negative; 0 is cross-entropy.
        label_smoothing: As in :func:`~mmfusion.losses.cross_entropy.cross_entropy_loss`.

    Returns:
        A scalar; 0 without a case.

    Raises:
        ValueError: If an option is out of range, or shapes or dtypes do not fit.
    """
    check_logits(logits, labels)
    require("counts", counts, "numeric", logits.shape[1])
    logits = full_precision(logits)
    number = counts.to(logits.dtype).clamp(min=1)
    prior = (number / number.sum()).log()
    return cross_entropy_loss(logits + tau * prior, labels, label_smoothing=label_smoothing)


@losses.register("logit_adjusted")
class LogitAdjustedLoss(CountedLoss):
    """Cross-entropy of logits to which the prior is added; see :func:`logit_adjusted_loss`.

    Args:
        tau: How much the prior counts, not negative.
        label_smoothing: The share of the label that is spread over all classes; 0 to 1.
        counts: As in :class:`~mmfusion.losses.class_counts.CountedLoss`, and so are the others.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        *,
        tau: NotNegative = 1.0,
        label_smoothing: Probability = 0.0,
        counts: Sequence[ClassCount] | None = None,
        target: str | None = None,
        n_classes: NClasses | None = None,
    ) -> None:
        super().__init__(counts=counts, target=target, n_classes=n_classes)
        self.tau = tau
        self.label_smoothing = label_smoothing

    def compute(self, batch: Batch) -> Tensor:
        """The loss of the target's logits and labels."""
        logits, labels, counts = self.logits_labels_counts(batch)
        return logit_adjusted_loss(logits, labels, counts, tau=self.tau, label_smoothing=self.label_smoothing)
