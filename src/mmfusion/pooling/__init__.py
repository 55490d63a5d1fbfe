"""Pooling: the stages' tokens to one embedding per set of tokens."""

from mmfusion.pooling.base import (
    FirstPooling,
    GranularityMerge,
    MeanPooling,
    StagePooling,
    first_token,
    masked_mean,
)
from mmfusion.pooling.throughout import ThroughoutFusion

__all__ = [
    "FirstPooling",
    "GranularityMerge",
    "MeanPooling",
    "StagePooling",
    "ThroughoutFusion",
    "first_token",
    "masked_mean",
]
