"""Samples as anchors."""

from torch import Tensor

from mmfusion.losses.anchor_loss import AnchorLoss, Eps, Reduction, reduced
from mmfusion.losses.anchors import AnchorSet
from mmfusion.losses.batch import Batch
from mmfusion.losses.functional import contrast, formula
from mmfusion.options import TemperatureValue
from mmfusion.registry import losses


@formula
def sample_anchor_loss(
    anchors: AnchorSet,
    *,
    temperature: TemperatureValue | Tensor = 0.07,
    reduction: Reduction = "normalized",
    eps: Eps = 0.0,
) -> Tensor:
    """Each sample against the prototypes of its class and the samples of other classes.

    ``sum_m sum_k mean_{i in k} l(x[m, i]; {c[k], u[1, k], ..., u[M, k]}, {x[m, j] : y_j != k})``: the prototypes are
    the only positives, samples of the same modality the only negatives.

    Args:
        anchors: From :func:`~mmfusion.losses.anchors.anchor_set`.
        temperature: Divides the cosine similarity; positive.
        reduction: ``"published"`` sums over modalities and classes; ``"normalized"`` averages over those with a case.
        eps: Added inside the logarithm; 1e-8 as published.

    Returns:
        A scalar; 0 if there is only one class.

    Raises:
        ValueError: If an option is out of range.
    """
    x, labels, member, counted, prototypes = anchors
    every, present = (tensor.flatten(0, 1) for tensor in prototypes)  # u[1, 1], ..., u[M, K], c[1], ..., c[K]
    of_class = member.repeat(1, len(prototypes.present)) & present
    other_class = (labels.unsqueeze(1) != labels) & counted.unsqueeze(1)
    loss = contrast(x, (every, x), of_class, other_class, temperature, eps=eps, normalize=False)  # (m, b)
    in_class = member & counted.unsqueeze(-1)  # (m, b, k)
    n_in_class = in_class.sum(1)
    means = (in_class * loss.unsqueeze(-1)).sum(1) / n_in_class.clamp(min=1)
    return reduced(means, n_in_class > 0, reduction)


@losses.register("sample_anchor")
class SampleAnchorLoss(AnchorLoss):
    """Samples as anchors; see :func:`sample_anchor_loss`."""

    def compute(self, batch: Batch) -> Tensor:
        """The loss of embeddings and labels."""
        return sample_anchor_loss(self.anchors(batch), **self.options())
