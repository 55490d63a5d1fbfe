"""The outer product of the embeddings: whole, or by its low-rank factors."""

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmfusion.heads.presence import stacked
from mmfusion.options import Count, Width, checked
from mmfusion.tokens import Present

MAX_WEIGHTS = 2**27
"""Weights of a tensor fusion's linear layer at most: half a GiB in float32, 2 GiB with a gradient and Adam's state."""


def with_one(x: Tensor) -> Tensor:
    """``[1; x]`` along the last axis."""
    return torch.cat([torch.ones_like(x[..., :1]), x], -1)


class LowRankFusion(nn.Module):
    """Low-rank multimodal fusion: ``h = sum_r w_r * prod_m([1; x_m] W_m^r) + b``.

    A linear map of the outer product of all ``[1; x_m]`` whose weights are a sum of ``rank`` outer products, so that
    the product is never made (Liu et al., 2018, arXiv 1806.00064; ``w_r`` and ``b`` as in the public code).

    A modality that a case lacks is ``x_m = 0``: what is left is the constant, and with it every term without the
    modality.

    NOTE[DIFF] The constants' rows start at 1 and the others near 0: a product of many small numbers would hardly start
    to learn.

    Args:
        names: The modalities, in order.
        dim: Width of each embedding.
        width: Of the fused vector.
        rank: Number of terms.

    Raises:
        ValueError: If ``rank`` is not positive.
    """

    @checked
    def __init__(self, names: Sequence[str], *, dim: Width, width: Width, rank: Count = 4) -> None:
        super().__init__()
        if rank < 1:
            raise ValueError(f"rank must be positive, got {rank}")
        self.names = tuple(names)
        self.factors = nn.Parameter(torch.empty(len(self.names), rank, dim + 1, width))
        self.weight = nn.Parameter(torch.empty(rank))
        self.bias = nn.Parameter(torch.zeros(width))
        nn.init.normal_(self.factors, std=1 / math.sqrt(dim + 1))
        nn.init.ones_(self.factors[:, :, 0])
        nn.init.constant_(self.weight, 1 / rank)

    def forward(self, embeddings: dict[str, Tensor], present: Present | None = None) -> Tensor:
        """One ``(b, dim)`` a modality, and which are there, to ``(b, width)``."""
        x, _ = stacked(embeddings, present, self.names)
        factors = torch.einsum("mbd,mrdw->mrbw", with_one(x), self.factors)
        # Not prod(): its gradient looks for zeros, which stops the device.
        product = functools.reduce(torch.mul, factors.unbind())
        return torch.einsum("r,rbw->bw", self.weight, product) + self.bias


class TensorFusion(nn.Module):
    """Tensor fusion: a linear map of the outer product of all ``[1; x_m]`` (Zadeh et al., 2017, arXiv 1707.07250).

    Args:
        names: The modalities, in order.
        dim: Width of each embedding.
        width: Of the fused vector.
        project: Embeddings wider than this are projected to it first.

    Raises:
        ValueError: If the product has more features than a linear map can have weights for; says which ``project``
            would do.
    """

    @checked
    def __init__(self, names: Sequence[str], *, dim: Width, width: Width, project: Width = 32) -> None:
        super().__init__()
        if project < 1:
            raise ValueError(f"project must be positive, got {project}")
        self.names = tuple(names)
        n_modalities, size = len(self.names), min(dim, project)
        n_features = (size + 1) ** n_modalities
        if n_features * width > MAX_WEIGHTS:
            fits = int((MAX_WEIGHTS / width) ** (1 / n_modalities)) - 1
            raise ValueError(
                f"the outer product of {n_modalities} embeddings of width {size} has {n_features:,} features, for "
                f"{n_features * width:,} weights, which is more than {MAX_WEIGHTS:,}: set tensor_dim to {fits} or "
                "less, or give a rank"
            )
        self.project = nn.ModuleDict({name: nn.Linear(dim, size) for name in self.names if size < dim})
        self.linear = nn.Linear(n_features, width)

    def forward(self, embeddings: dict[str, Tensor], present: Present | None = None) -> Tensor:
        """One ``(b, dim)`` a modality, and which are there, to ``(b, width)``."""
        x, there = stacked(embeddings, present, self.names)
        parts = list(x.unbind())
        if self.project:
            parts = [self.project[name](part) for name, part in zip(self.names, parts, strict=True)]
        # The projection's bias would stand for what is missing.
        parts = [with_one(torch.where(row, part, 0.0)) for row, part in zip(there.unbind(), parts, strict=True)]
        product = functools.reduce(lambda left, right: (left.unsqueeze(-1) * right.unsqueeze(1)).flatten(1), parts)
        fused: Tensor = self.linear(product)
        return fused
