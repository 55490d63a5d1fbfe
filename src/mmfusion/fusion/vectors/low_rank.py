"""Low-rank multimodal fusion (LMF)."""

import functools
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmfusion.fusion.vectors.vector_fusion import VectorFusion, stacked
from mmfusion.options import Count, Width
from mmfusion.registry import vector_fusions
from mmfusion.tokens import Present


def with_one(x: Tensor) -> Tensor:
    """``[1; x]`` along the last axis."""
    return torch.cat([torch.ones_like(x[..., :1]), x], -1)


@vector_fusions.register("low_rank")
class LowRankFusion(VectorFusion):
    """Low-rank multimodal fusion: ``h = sum_r w_r * prod_m([1; x_m] W_m^r) + b``.

    A linear map of the outer product of all ``[1; x_m]`` whose weights are a sum of ``rank`` outer products, so that
    the product is never made (Liu et al., 2018, arXiv 1806.00064; ``w_r`` and ``b`` as in the public code).

    An absent modality is ``x_m = 0``: what is left is the constant, and with it every term without the
    modality.

    NOTE[DIFF] The constants' rows start at 1 and the others near 0: a product of many small numbers would hardly start
    to learn.

    Args:
        names: The modalities, in order.
        dim: Width of each embedding.
        dim_out: Width of the fused vector; None: ``dim``.
        rank: Number of terms.

    Raises:
        ValueError: If ``rank`` is not positive.
    """

    def __init__(self, names: Sequence[str], *, dim: Width, dim_out: Width | None = None, rank: Count = 4) -> None:
        super().__init__(names, dim_out=dim if dim_out is None else dim_out)
        self.factors = nn.Parameter(torch.empty(len(self.names), rank, dim + 1, self.dim_out))
        self.weight = nn.Parameter(torch.empty(rank))
        self.bias = nn.Parameter(torch.zeros(self.dim_out))
        nn.init.normal_(self.factors, std=1 / math.sqrt(dim + 1))
        nn.init.ones_(self.factors[:, :, 0])
        nn.init.constant_(self.weight, 1 / rank)

    def forward(self, embeddings: Mapping[str, Tensor], present: Present | None = None) -> Tensor:
        """From one ``(b, dim)`` per modality to ``(b, dim_out)``."""
        x, _ = stacked(embeddings, present, self.names)
        factors = torch.einsum("mbd,mrdw->mrbw", with_one(x), self.factors)
        # Not prod(): its gradient looks for zeros, which stops the device.
        product = functools.reduce(torch.mul, factors.unbind())
        return torch.einsum("r,rbw->bw", self.weight, product) + self.bias
