"""Gated multimodal unit (GMU)."""

from collections.abc import Mapping, Sequence

import torch
from einops import rearrange
from torch import Tensor, nn

from mmfusion.fusion.vectors.vector_fusion import VectorFusion, stacked
from mmfusion.options import Width
from mmfusion.registry import vector_fusions
from mmfusion.tokens import Present


@vector_fusions.register("gated")
class GatedFusion(VectorFusion):
    """Gates decide feature by feature how much of each modality passes.

    ``h_i = tanh(W_i x_i)``. Two modalities share one gate, ``z = sigmoid(W_z [x_1; x_2])`` and
    ``h = z * h_1 + (1 - z) * h_2``; of any other number each has a gate, ``z_i = sigmoid(W_zi [x_1; ...; x_m])`` and
    ``h = sum_i z_i * h_i`` (Arevalo et al., 2017, arXiv 1702.01992). No biases, as in the paper's equations.

    The gates see zeros for an absent modality, and nothing of it passes; where one of two is absent, the other passes
    whole (z is 1 or 0).

    Args:
        names: The modalities, in order.
        dim: Width of each embedding.
        dim_out: Width of the fused vector; None: ``dim``.
    """

    def __init__(self, names: Sequence[str], *, dim: Width, dim_out: Width | None = None) -> None:
        super().__init__(names, dim_out=dim if dim_out is None else dim_out)
        n_gates = 1 if len(self.names) == 2 else len(self.names)
        self.project = nn.ModuleDict({name: nn.Linear(dim, self.dim_out, bias=False) for name in self.names})
        self.gate = nn.Linear(dim * len(self.names), n_gates * self.dim_out, bias=False)

    def forward(self, embeddings: Mapping[str, Tensor], present: Present | None = None) -> Tensor:
        """From one ``(b, dim)`` per modality to ``(b, dim_out)``."""
        x, mask = stacked(embeddings, present, self.names)
        h = torch.stack([self.project[name](part) for name, part in zip(self.names, x.unbind(), strict=True)]).tanh()
        z = rearrange(self.gate(torch.cat(x.unbind(), -1)).sigmoid(), "b (gates d) -> gates b d", d=self.dim_out)
        if len(self.names) == 2:
            z = torch.cat([z, 1 - z])
            z = torch.where(mask.flip(0), z, 1.0)
        fused: Tensor = torch.where(mask, z * h, 0.0).sum(0)
        return fused
