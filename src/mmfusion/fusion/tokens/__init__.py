"""Token fusion: blocks that exchange information between sets of tokens, ``dict[str, Tokens]`` to the same."""

from mmfusion.fusion.tokens.bottleneck import Bottleneck
from mmfusion.fusion.tokens.directional import Directional
from mmfusion.fusion.tokens.enhancement import CrossmodalEnhancement
from mmfusion.fusion.tokens.gated_query import GatedQuery
from mmfusion.fusion.tokens.joint import JointAttention
from mmfusion.fusion.tokens.latent import Latent
from mmfusion.fusion.tokens.projection import Projection
from mmfusion.fusion.tokens.query import Query
from mmfusion.fusion.tokens.self_attention import SelfAttention

__all__ = [
    "Bottleneck",
    "CrossmodalEnhancement",
    "Directional",
    "GatedQuery",
    "JointAttention",
    "Latent",
    "Projection",
    "Query",
    "SelfAttention",
]
