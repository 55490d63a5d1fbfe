"""Contrast between modalities: InfoNCE."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from mmfusion.losses.base import Loss
from mmfusion.losses.batch import Batch
from mmfusion.losses.functional import contrast_from_similarity, formula, mean_where
from mmfusion.losses.pairs import Pairs, checked_pairs, modality_pairs, sides_of
from mmfusion.losses.temperature import Temperature
from mmfusion.options import Probability, TemperatureValue
from mmfusion.registry import losses
from mmfusion.utils.precision import without_autocast
from mmfusion.utils.tensor_checks import require

Positives: TypeAlias = Literal["case", "class"]


@formula
def info_nce_loss(
    first: Tensor,
    second: Tensor,
    both: Tensor,
    *,
    temperature: TemperatureValue | Tensor,
    labels: Tensor | None = None,
    first_weight: Probability = 0.5,
) -> Tensor:
    """Each case finds its other modality among those of all cases, and the other way round.

    CLIP (Radford et al. 2021, arXiv 2103.00020, figure 3): cross-entropy of the cosines over the temperature, over the
    rows and over the columns, averaged. Here over the cases that have both modalities, then over the pairs of
    modalities.

    With labels, every case of the same class is a positive and every case of another class a negative. The positives
    are summed inside the logarithm, as in :func:`~mmfusion.losses.functional.contrast`.

    Args:
        first: Shape ``(..., b, d)``; normalized inside.
        second: The same shape.
        both: Which cases have both, shape ``(..., b)``, bool; True counts. What is left out may hold anything.
        temperature: Divides the cosine similarity; positive.
        labels: Shape ``(b,)`` int64; a case with a negative label is left out. None: a case is its only positive.
        first_weight: What the direction from the first to the second counts, 0 to 1; the other direction counts the
            rest.

    Returns:
        A scalar, not negative. A pair of modalities without a negative is left out: one with fewer than two cases, or
        with a single class. 0 if no pair is left.

    Raises:
        ValueError: If temperature is not positive, the weight is out of range, or shapes or dtypes do not fit.
    """
    first, second = sides_of(first, second, both)
    n_cases = both.shape[-1]
    if labels is None:
        counted = both
        same = torch.eye(n_cases, dtype=torch.bool, device=both.device)
    else:
        require("labels", labels, torch.int64, n_cases)
        counted = both & (labels >= 0)
        same = labels.unsqueeze(-1) == labels
    seen = counted.unsqueeze(-1) & counted.unsqueeze(-2)  # (..., b, b), symmetric as same is: right for both directions
    positive, negative = same & seen, ~same & seen
    with without_autocast(first):
        similarity = first @ second.mT / temperature
        forward = contrast_from_similarity(similarity, positive, negative)
        backward = contrast_from_similarity(similarity.mT, positive, negative)
        loss = first_weight * forward + (1 - first_weight) * backward
    per_pair = torch.where(counted, loss, 0.0).sum(-1) / counted.sum(-1).clamp(min=1)
    return mean_where(per_pair, negative.flatten(-2).any(-1))


@losses.register("info_nce")
class InfoNCELoss(Loss):
    """Each case against all others across modalities; see :func:`info_nce_loss`.

    Args:
        pairs: Names of two modalities each; None: every pair once.
        temperature: Divides the cosine similarity; positive.
        learn_temperature: Make it a parameter that starts there, as CLIP does; see
            :class:`~mmfusion.losses.temperature.Temperature`.
        positives: ``"case"``: the other modality of the same case; ``"class"``: that of every case of its class, which
            needs a single target of classes.
        first_weight: What the direction from the first to the second of each pair counts, 0 to 1.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        *,
        pairs: Pairs | None = None,
        temperature: TemperatureValue = 0.07,
        learn_temperature: bool = False,
        positives: Positives = "case",
        first_weight: Probability = 0.5,
    ) -> None:
        super().__init__()
        self.first_weight = first_weight
        self.pairs = checked_pairs("pairs", pairs)
        self.temperature = Temperature(temperature, learned=learn_temperature)
        self.positives: Positives = positives

    def compute(self, batch: Batch) -> Tensor:
        """The loss of at least two modalities' embeddings."""
        return info_nce_loss(
            *modality_pairs(batch, self.pairs),
            temperature=self.temperature(),
            labels=batch.labels if self.positives == "class" else None,
            first_weight=self.first_weight,
        )
