"""Spread of the cases over the sphere."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from mmfusion.layers.directions import unit
from mmfusion.losses.base import Loss
from mmfusion.losses.batch import Batch
from mmfusion.losses.functional import formula, masked_logsumexp, mean_where
from mmfusion.options import Positive
from mmfusion.registry import losses
from mmfusion.utils.precision import full_precision, without_autocast
from mmfusion.utils.tensor_checks import require

Over: TypeAlias = Literal["each", "all"]


@formula
def uniformity_loss(x: Tensor, present: Tensor, *, t: Positive = 2.0, over: Over = "each") -> Tensor:
    """How unevenly directions lie on the sphere: ``log mean exp(-t |x_i - x_j|^2)`` over the pairs of cases.

    Wang and Isola 2020 (arXiv 2005.10242, section 4.1, L_uniform). The expectation is over pairs of different cases
    of the batch. Least where the directions spread evenly, 0 where all are one.

    Args:
        x: Shape ``(m, b, d)``; normalized inside.
        present: Which cases have which modality, shape ``(m, b)``, bool. What is absent may hold anything.
        t: Positive.
        over: ``"each"`` modality by itself, then the mean over those with at least two cases; or ``"all"`` modalities
            as one set, where the modalities of one case are no pair: to bring these together is what alignment is for.

    Returns:
        A scalar, ``-4 t`` to 0: not a loss that can be compared with 0. 0 without two cases.

    Raises:
        ValueError: If an option is out of range, or shapes or dtypes do not fit.
    """
    require("x", x, "floating point", "m", "b", "d")
    require("present", present, torch.bool, *x.shape[:2])
    x = unit(torch.where(present.unsqueeze(-1), full_precision(x), 0.0))
    n_modalities, n_cases, _ = x.shape
    other_case = ~torch.eye(n_cases, dtype=torch.bool, device=x.device)
    if over == "all":
        x, present = x.flatten(0, 1).unsqueeze(0), present.flatten().unsqueeze(0)
        other_case = other_case.repeat(n_modalities, n_modalities)
    counted = (other_case & present.unsqueeze(-1) & present.unsqueeze(-2)).flatten(1)
    length = x.square().sum(-1)  # 1, but for zero vectors
    with without_autocast(x):
        distance = length.unsqueeze(-1) + length.unsqueeze(-2) - 2 * (x @ x.mT)
    n_pairs = counted.sum(-1)
    per_set = masked_logsumexp(-t * distance.flatten(1), counted) - n_pairs.clamp(min=1).to(x.dtype).log()
    return mean_where(per_set, n_pairs > 0)


@losses.register("uniformity")
class UniformityLoss(Loss):
    """The cases of a modality spread over the sphere; see :func:`uniformity_loss`.

    Args:
        t: How near a neighbour has to be to count, positive.
        over: ``"each"`` modality by itself, or ``"all"`` as one set; they are of one width either way.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(self, *, t: Positive = 2.0, over: Over = "each") -> None:
        super().__init__()
        self.t = t
        self.over: Over = over

    def compute(self, batch: Batch) -> Tensor:
        """The loss of embeddings."""
        return uniformity_loss(*batch.units, t=self.t, over=self.over)
