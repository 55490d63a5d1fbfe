"""Blocks that mix the modalities' tokens: ``dict[str, Tokens]`` to ``dict[str, Tokens]``."""

from mmfusion.interactions.bottleneck import Bottleneck
from mmfusion.interactions.directional import Directional
from mmfusion.interactions.enhancement import CrossmodalEnhancement
from mmfusion.interactions.gated_query import GatedQuery
from mmfusion.interactions.joint import JointAttention
from mmfusion.interactions.latent import Latent
from mmfusion.interactions.query import Query
from mmfusion.interactions.self_attention import SelfAttention

__all__ = [
    "Bottleneck",
    "CrossmodalEnhancement",
    "Directional",
    "GatedQuery",
    "JointAttention",
    "Latent",
    "Query",
    "SelfAttention",
]
