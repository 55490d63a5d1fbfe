"""Blocks that mix the modalities' tokens: ``dict[str, Tokens]`` to ``dict[str, Tokens]``."""

from mmfusion.interactions.enhancement import CrossmodalEnhancement
from mmfusion.interactions.self_attention import SelfAttention

__all__ = ["CrossmodalEnhancement", "SelfAttention"]
