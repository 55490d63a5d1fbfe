"""Map fusion: blocks that act on the feature maps inside the image encoders, ``(maps, context, stage) -> maps``."""

from mmfusion.fusion.maps.affine import Daft, Film, Mul
from mmfusion.fusion.maps.hyper import HyperConv
from mmfusion.fusion.maps.map_fusion import ConditionedMapFusion, MapFusion, MapSites, like_map
from mmfusion.fusion.maps.meta import MetaBlock, MetaNet
from mmfusion.fusion.maps.mmtm import MMTM

__all__ = [
    "MMTM",
    "ConditionedMapFusion",
    "Daft",
    "Film",
    "HyperConv",
    "MapFusion",
    "MapSites",
    "MetaBlock",
    "MetaNet",
    "Mul",
    "like_map",
]
