"""From one embedding a modality to the outputs, one entry a target.

A head that sets ``takes_present`` is called as ``head(embeddings, present)``, with what the model was told of missing
modalities; any other as ``head(embeddings)``. Embeddings of a case that lacks the modality are zeros either way.
"""

from mmfusion.heads.classifiers import AverageHead, SingleHead
from mmfusion.heads.concat import Concat, ConcatHead
from mmfusion.heads.fused import FusedHead
from mmfusion.heads.gated import GatedFusion
from mmfusion.heads.late import LateHead
from mmfusion.heads.maximum import MaxFusion
from mmfusion.heads.split import SplitFusion
from mmfusion.heads.tensor import LowRankFusion, TensorFusion

__all__ = [
    "AverageHead",
    "Concat",
    "ConcatHead",
    "FusedHead",
    "GatedFusion",
    "LateHead",
    "LowRankFusion",
    "MaxFusion",
    "SingleHead",
    "SplitFusion",
    "TensorFusion",
]
