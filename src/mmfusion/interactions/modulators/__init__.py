"""Blocks that act on the feature maps inside the image encoders: ``(maps, context, stage)`` to maps."""

from mmfusion.interactions.modulators.affine import Daft, Film, Mul
from mmfusion.interactions.modulators.base import Conditioned, Modulator, like_map, neutral
from mmfusion.interactions.modulators.hyper import HyperConv
from mmfusion.interactions.modulators.meta import MetaBlock, MetaNet
from mmfusion.interactions.modulators.mmtm import MMTM

__all__ = [
    "MMTM",
    "Conditioned",
    "Daft",
    "Film",
    "HyperConv",
    "MetaBlock",
    "MetaNet",
    "Modulator",
    "Mul",
    "like_map",
    "neutral",
]
