"""Concatenation of the embeddings."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mmfusion.fusion.vectors.vector_fusion import VectorFusion
from mmfusion.options import Width
from mmfusion.registry import vector_fusions
from mmfusion.tokens import Present


@vector_fusions.register("concat")
class Concat(VectorFusion):
    """``h = [x_1; ...; x_m]``. An absent modality is zeros.

    Args:
        names: The modalities, in order.
        dim: Width of each embedding.
    """

    def __init__(self, names: Sequence[str], *, dim: Width) -> None:
        super().__init__(names, dim_out=dim * len(names))

    def forward(self, embeddings: Mapping[str, Tensor], present: Present | None = None) -> Tensor:
        """From one ``(b, dim)`` per modality to ``(b, m * dim)``."""
        parts = []
        for name in self.names:
            x, mask = embeddings[name], (present or {}).get(name)
            parts.append(x if mask is None else torch.where(mask.unsqueeze(-1), x, 0.0))
        return torch.cat(parts, -1)
