"""A vector whose features are shared out among the modalities (AMF)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mmfusion.fusion.vectors.vector_fusion import VectorFusion, stacked
from mmfusion.options import NotNegative, Width
from mmfusion.registry import vector_fusions
from mmfusion.spec import DataSpec
from mmfusion.tokens import Present


class SplitFusion(VectorFusion):
    """``h = sum_m mask_m * x_m`` with fixed binary masks that give each modality its own features.

    Of AMF (Yu et al., 2025, arXiv 2506.19439). The features of an absent modality are zeros.

    Args:
        parts: How many features each modality has, in their order along the vector.
    """

    def __init__(self, parts: Mapping[str, int]) -> None:
        super().__init__(tuple(parts), dim_out=sum(parts.values()))
        self.parts = dict(parts)

    def forward(self, embeddings: Mapping[str, Tensor], present: Present | None = None) -> Tensor:
        """From one ``(b, d)`` per modality to ``(b, d)``."""
        x, _ = stacked(embeddings, present, self.names)
        pieces = torch.split(x, list(self.parts.values()), -1)
        return torch.cat([piece[m] for m, piece in enumerate(pieces)], -1)


@vector_fusions.register("split")
def split(spec: DataSpec, *, dim: Width, confidence: NotNegative = 1.0) -> SplitFusion:
    """A split whose parts follow from how much the images are trusted; see :func:`shares`.

    Args:
        spec: The modalities.
        dim: Features in all.
        confidence: Features of the images over those of the tables.

    Raises:
        ValueError: If a modality is left without a feature.
    """
    return SplitFusion(shares(spec, dim, confidence))


def shares(spec: DataSpec, dim: int, confidence: float) -> dict[str, int]:
    """How many of the features each modality has.

    Tables have ``dim / (1 + confidence)``, rounded down, and images the rest; several of a kind share equally.

    Args:
        spec: The modalities.
        dim: Features in all.
        confidence: Features of the images over those of the tables; finite, not negative.

    Returns:
        By modality, in the spec's order.

    Raises:
        ValueError: If ``confidence`` is out of range, or a modality is left without a feature.
    """
    of_tables = int(dim / (1 + confidence)) if spec.images and spec.tables else dim
    of_images = dim - of_tables if spec.tables else dim
    parts: dict[str, int] = {}
    for names, width in ((tuple(spec.tables), of_tables), (tuple(spec.images), of_images)):
        parts |= {name: width // len(names) + (i < width % len(names)) for i, name in enumerate(names)}
    parts = {name: parts[name] for name in spec.names}
    if not all(parts.values()):
        raise ValueError(
            f"dim={dim} and confidence={confidence} leave a modality without a feature: {parts}. Choose a larger dim, "
            "or a confidence nearer to 1"
        )
    return parts
