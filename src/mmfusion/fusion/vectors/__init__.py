"""Vector fusion: one embedding per modality to one vector, ``(embeddings, present) -> (b, dim_out)``."""

from mmfusion.fusion.vectors.concat import Concat
from mmfusion.fusion.vectors.gated import GatedFusion
from mmfusion.fusion.vectors.low_rank import LowRankFusion
from mmfusion.fusion.vectors.maximum import MaxFusion
from mmfusion.fusion.vectors.single import Single
from mmfusion.fusion.vectors.split import SplitFusion
from mmfusion.fusion.vectors.tensor import TensorFusion
from mmfusion.fusion.vectors.vector_fusion import VectorFusion

__all__ = [
    "Concat",
    "GatedFusion",
    "LowRankFusion",
    "MaxFusion",
    "Single",
    "SplitFusion",
    "TensorFusion",
    "VectorFusion",
]
