"""Tensor fusion (TFN)."""

import functools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmfusion.fusion.vectors.low_rank import with_one
from mmfusion.fusion.vectors.vector_fusion import VectorFusion, stacked
from mmfusion.options import Width
from mmfusion.registry import vector_fusions
from mmfusion.tokens import Present

MAX_WEIGHTS = 2**27
"""Weights of a tensor fusion's linear layer at most: half a GiB in float32, 2 GiB with a gradient and Adam's state."""


@vector_fusions.register("tensor")
class TensorFusion(VectorFusion):
    """Tensor fusion: a linear map of the outer product of all ``[1; x_m]`` (Zadeh et al., 2017, arXiv 1707.07250).

    Args:
        names: The modalities, in order.
        dim: Width of each embedding.
        dim_out: Width of the fused vector; None: ``dim``.
        project: Embeddings wider than this are projected to it first.

    Raises:
        ValueError: If the product has more features than a linear map can have weights for; says which ``project``
            would do.
    """

    def __init__(self, names: Sequence[str], *, dim: Width, dim_out: Width | None = None, project: Width = 32) -> None:
        super().__init__(names, dim_out=dim if dim_out is None else dim_out)
        width = self.dim_out
        n_modalities, size = len(self.names), min(dim, project)
        n_features = (size + 1) ** n_modalities
        if n_features * width > MAX_WEIGHTS:
            fits = int((MAX_WEIGHTS / width) ** (1 / n_modalities)) - 1
            raise ValueError(
                f"the outer product of {n_modalities} embeddings of width {size} has {n_features:,} features, for "
                f"{n_features * width:,} weights, which is more than {MAX_WEIGHTS:,}: set project, tensor_dim of the "
                f"model 'lmf', to {fits} or less, or take 'low_rank'"
            )
        self.project = nn.ModuleDict({name: nn.Linear(dim, size) for name in self.names if size < dim})
        self.linear = nn.Linear(n_features, width)

    def forward(self, embeddings: Mapping[str, Tensor], present: Present | None = None) -> Tensor:
        """From one ``(b, dim)`` per modality to ``(b, dim_out)``."""
        x, mask = stacked(embeddings, present, self.names)
        parts = list(x.unbind())
        if self.project:
            parts = [self.project[name](part) for name, part in zip(self.names, parts, strict=True)]
        # The projection's bias would be content of an absent modality.
        parts = [with_one(torch.where(row, part, 0.0)) for row, part in zip(mask.unbind(), parts, strict=True)]
        product = functools.reduce(lambda left, right: (left.unsqueeze(-1) * right.unsqueeze(1)).flatten(1), parts)
        fused: Tensor = self.linear(product)
        return fused
