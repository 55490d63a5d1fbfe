"""Pooling: the stages' tokens to one embedding per set of tokens."""

from mmfusion.pooling.base import (
    FirstPooling,
    GranularityMerge,
    MeanPooling,
    StagePooling,
    Stages,
    StageShapes,
    first_token,
    masked_mean,
    where_any,
)
from mmfusion.pooling.throughout import ThroughoutFusion

__all__ = [
    "FirstPooling",
    "GranularityMerge",
    "MeanPooling",
    "StagePooling",
    "StageShapes",
    "Stages",
    "ThroughoutFusion",
    "first_token",
    "masked_mean",
    "where_any",
]
