"""Elementwise maximum of the embeddings."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from mmfusion.fusion.vectors.vector_fusion import VectorFusion, maximum, stacked
from mmfusion.options import Width
from mmfusion.registry import vector_fusions
from mmfusion.tokens import Present


@vector_fusions.register("max")
class MaxFusion(VectorFusion):
    """``h = max_m x_m``, feature by feature, over the modalities that a case has.

    Args:
        names: The modalities, in order.
        dim: Width of each embedding.
    """

    def __init__(self, names: Sequence[str], *, dim: Width) -> None:
        super().__init__(names, dim_out=dim)

    def forward(self, embeddings: Mapping[str, Tensor], present: Present | None = None) -> Tensor:
        """From one ``(b, dim)`` per modality to ``(b, dim)``."""
        return maximum(*stacked(embeddings, present, self.names))
