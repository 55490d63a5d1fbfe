"""Image-text matching with hard negatives."""

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfusion.losses.base import Loss
from mmfusion.losses.batch import Batch
from mmfusion.losses.functional import check_temperature, mean_where
from mmfusion.losses.linear_layers import Layers, check_width
from mmfusion.losses.pairs import Pairs, checked_pairs, modality_pairs
from mmfusion.options import TemperatureValue, Width
from mmfusion.registry import losses
from mmfusion.utils.precision import without_autocast
from mmfusion.utils.tensor_checks import require

Negatives: TypeAlias = Literal["hardest", "proportional"]
Exclude: TypeAlias = Literal["case", "class"]
Classify: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""From two sides, ``(..., d)`` each, to one logit a row, ``(...)``: positive for a match."""


def hard_negatives(similarity: Tensor, eligible: Tensor, *, temperature: float | None = None) -> tuple[Tensor, Tensor]:
    """One negative for each row, among those that look like its positive. No gradient flows through the choice.

    Args:
        similarity: Shape ``(..., b, c)``: of the rows to the candidates.
        eligible: The same shape, bool; True may be chosen. The similarity of what may not can be anything.
        temperature: None: the most similar candidate, the first one of several. A number: a candidate drawn with a
            probability in proportion to ``exp(similarity / temperature)`` (ALBEF, Li et al. 2021, arXiv 2107.07651,
            section 3.2), from torch's generator, anew in each call.

    Returns:
        Indices of candidates, shape ``(..., b)`` int64, and which rows have one, ``(..., b)`` bool; the index of a row
        that has none is 0.

    Raises:
        ValueError: If temperature is not positive, or the shapes do not fit.
    """
    require("similarity", similarity, "numeric", "...", "b", "c")
    require("eligible", eligible, torch.bool, *similarity.shape)
    score = similarity.detach()
    if temperature is not None:
        check_temperature(temperature)
        # The largest of scores with Gumbel noise is distributed as the softmax of the scores.
        noise = torch.empty_like(score).exponential_().clamp(min=torch.finfo(score.dtype).tiny)
        score = score / temperature - noise.log()
    if score.shape[-1] == 0:  # the largest of nothing is an error
        return torch.zeros_like(eligible.any(-1), dtype=torch.int64), eligible.any(-1)
    return torch.where(eligible, score, -torch.inf).argmax(-1), eligible.any(-1)


def pair_features(first: Tensor, second: Tensor) -> Tensor:
    """Features of two directions that do not depend on their order: ``d [a * b, (a - b)^2]``.

    Args:
        first: Directions, shape ``(..., d)``.
        second: The same shape.

    Returns:
        Shape ``(..., 2 d)``. The entries of a direction are of size ``1 / sqrt(d)``: times d, those of the features are
        of size 1.
    """
    return first.shape[-1] * torch.cat([first * second, (first - second).square()], -1)


def matching_loss(
    first: Tensor,
    second: Tensor,
    classify: Classify,
    *,
    labels: Tensor | None = None,
    temperature: float | None = None,
) -> Tensor:
    """Distinguish the two sides of a case from those of two cases that look alike.

    Image-text matching (ALBEF, Li et al. 2021, arXiv 2107.07651, section 3.2, L_itm): each case gives one match, and
    two that are none, its first side with a hard negative among the second sides and the other way round. Binary
    cross-entropy, averaged over all of them.

    NOTE[DIFF] By default the negative is the most similar candidate; the paper draws it, see :func:`hard_negatives`.
    NOTE[DIFF] The paper classifies the [CLS] token of an encoder that sees the tokens of both sides, with two logits;
    here the classifier sees one direction a side, and has one logit, which is the difference of two.

    The choice of a negative is held constant; of candidates that are equally similar it is the first, and the gradient
    is that of this one.

    Args:
        first: Directions, shape ``(p, b, d)``. A zero vector is a side that the case lacks, as
            :func:`~mmfusion.losses.pairs.modality_pairs` gives it; an embedding of zero has no direction either.
        second: The same shape.
        classify: From two sides to one logit a row.
        labels: Shape ``(b,)`` int64: a negative must be of another class, and one of an unknown class, below 0, is
            none. None: a negative is of another case.
        temperature: As in :func:`hard_negatives`.

    Returns:
        A scalar, the mean over the pairs of modalities, the matches and their negatives together. A case that lacks a
        side counts as a candidate only; one without a negative is left out, as matches alone teach nothing.
        0 if no case is left.

    Raises:
        ValueError: If temperature is not positive, or shapes or dtypes do not fit.
    """
    require("the first side", first, "numeric", "p", "b", "d")
    require("the second side", second, "numeric", *first.shape)
    n_cases = first.shape[1]
    if labels is None:
        other = ~torch.eye(n_cases, dtype=torch.bool, device=first.device)
    else:
        require("labels", labels, torch.int64, n_cases)
        known = labels >= 0
        other = (labels.unsqueeze(-1) != labels) & known.unsqueeze(-1) & known
    has_first, has_second = ((side != 0).any(-1) for side in (first, second))  # (p, b)
    other = other & (has_first & has_second).unsqueeze(-1)
    with without_autocast(first):
        similarity = first.detach() @ second.detach().mT
        of_second, second_found = hard_negatives(similarity, other & has_second.unsqueeze(-2), temperature=temperature)
        of_first, first_found = hard_negatives(similarity.mT, other & has_first.unsqueeze(-2), temperature=temperature)
        right = torch.stack(
            [
                classify(first, second),
                -classify(first, _rows(second, of_second)),
                -classify(_rows(first, of_first), second),
            ]
        )
        return mean_where(-F.logsigmoid(right), torch.stack([first_found | second_found, second_found, first_found]))


@losses.register("matching")
class MatchingLoss(Loss):
    """A classifier that distinguishes cases from mixed ones; see :func:`matching_loss`.

    One classifier serves all pairs of modalities, and does not know which modality is which.

    Args:
        dim: Width of the embeddings.
        hidden: Width of the classifier's hidden layer.
        pairs: Names of two modalities each; None: every pair once.
        negatives: ``"hardest"``: the most similar; ``"proportional"``: drawn in proportion to
            ``exp(similarity / temperature)``, in evaluation too.
        temperature: Divides the cosine similarity where negatives are drawn; positive.
        exclude: ``"case"``: a negative is of another case; ``"class"``: of another class, which needs a single target
            of classes.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        *,
        dim: Width,
        hidden: Width = 128,
        pairs: Pairs | None = None,
        negatives: Negatives = "hardest",
        temperature: TemperatureValue = 0.07,
        exclude: Exclude = "case",
    ) -> None:
        super().__init__()
        self.dim = dim
        self.pairs = checked_pairs("pairs", pairs)
        self.negatives: Negatives = negatives
        self.temperature = temperature
        self.exclude: Exclude = exclude
        self.classifier = Layers(2 * dim, 1, hidden=hidden)

    def compute(self, batch: Batch) -> Tensor:
        """The loss of at least two modalities' embeddings."""
        first, second, _ = modality_pairs(batch, self.pairs)
        check_width(first, self.dim)
        return matching_loss(
            first,
            second,
            lambda one, other: self.classifier(pair_features(one, other)).squeeze(-1),
            labels=batch.labels if self.exclude == "class" else None,
            temperature=self.temperature if self.negatives == "proportional" else None,
        )


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """The rows of ``(p, b, d)`` that an index ``(p, b)`` names."""
    return x.gather(-2, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
