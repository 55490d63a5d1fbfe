"""The gated multimodal unit."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmfusion.heads.presence import stacked
from mmfusion.options import Width, checked
from mmfusion.tokens import Present


class GatedFusion(nn.Module):
    """How much of each modality passes, feature by feature, decided by all of them.

    ``h_i = tanh(W_i x_i)``. Two modalities share one gate, ``z = sigmoid(W_z [x_1; x_2])`` and
    ``h = z * h_1 + (1 - z) * h_2``; of any other number each has its own, ``z_i = sigmoid(W_zi [x_1; ...; x_m])`` and
    ``h = sum_i z_i * h_i`` (Arevalo et al., 2017, arXiv 1702.01992). No biases, as in the paper's equations.

    Of what a case lacks the gates see zeros, and nothing passes; where one of two is missing, the other passes whole
    (z is 1 or 0).

    Args:
        names: The modalities, in order.
        dim: Width of each embedding.
        width: Of the fused vector; None: ``dim``.
    """

    @checked
    def __init__(self, names: Sequence[str], *, dim: Width, width: Width | None = None) -> None:
        super().__init__()
        self.names = tuple(names)
        self.width = dim if width is None else width
        n_gates = 1 if len(self.names) == 2 else len(self.names)
        self.project = nn.ModuleDict({name: nn.Linear(dim, self.width, bias=False) for name in self.names})
        self.gate = nn.Linear(dim * len(self.names), n_gates * self.width, bias=False)

    def forward(self, embeddings: dict[str, Tensor], present: Present | None = None) -> Tensor:
        """One ``(b, dim)`` a modality, and which are there, to ``(b, width)``."""
        x, there = stacked(embeddings, present, self.names)
        h = torch.stack([self.project[name](one) for name, one in zip(self.names, x.unbind(), strict=True)]).tanh()
        z = self.gate(torch.cat(x.unbind(), -1)).sigmoid().unflatten(-1, (-1, self.width)).movedim(1, 0)
        if len(self.names) == 2:
            z = torch.cat([z, 1 - z])
            z = torch.where(there.flip(0), z, 1.0)
        fused: Tensor = torch.where(there, z * h, 0.0).sum(0)
        return fused
