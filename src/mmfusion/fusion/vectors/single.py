"""One of the embeddings."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from mmfusion.fusion.vectors.vector_fusion import VectorFusion
from mmfusion.options import Width
from mmfusion.registry import vector_fusions
from mmfusion.tokens import Present


@vector_fusions.register("single")
class Single(VectorFusion):
    """``h = x``: one embedding is the fused vector, such as that of tokens that a token fusion added.

    Args:
        names: Name of the embedding, alone.
        dim: Width of it.

    Raises:
        ValueError: If there is more than one name.
    """

    def __init__(self, names: Sequence[str], *, dim: Width) -> None:
        if len(names) != 1:
            raise ValueError(f"'single' reads one embedding, got {list(names)}: name it by of=")
        super().__init__(names, dim_out=dim)

    def forward(self, embeddings: Mapping[str, Tensor], present: Present | None = None) -> Tensor:
        """From embeddings with that one among them to ``(b, dim)``."""
        return embeddings[self.names[0]]
