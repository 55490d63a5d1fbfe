"""A vector of which each modality has a part."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmfusion.heads.presence import stacked
from mmfusion.tokens import Present


class SplitFusion(nn.Module):
    """``h = sum_m mask_m * x_m`` with fixed binary masks that share the features out: from each modality its own part.

    Of AMF (Yu et al., 2025, arXiv 2506.19439). Zeros stand in the part of what a case lacks.

    Args:
        parts: How many features each modality has, in their order along the vector.
    """

    def __init__(self, parts: Mapping[str, int]) -> None:
        super().__init__()
        self.parts = dict(parts)

    def forward(self, embeddings: dict[str, Tensor], present: Present | None = None) -> Tensor:
        """One ``(b, d)`` a modality, and which are there, to ``(b, d)``."""
        x, _ = stacked(embeddings, present, list(self.parts))
        pieces = torch.split(x, list(self.parts.values()), -1)
        return torch.cat([piece[m] for m, piece in enumerate(pieces)], -1)
