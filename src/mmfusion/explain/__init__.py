"""Explanations: where in the images, which columns and which modalities an output comes from."""

from mmfusion.explain.account import Account, Parts, contributions
from mmfusion.explain.class_activation import class_activation_map
from mmfusion.explain.modalities import ModalityContributions, modality_contributions
from mmfusion.explain.outputs import Output
from mmfusion.explain.regions import grid_regions, superpixels, without_content

__all__ = [
    "Account",
    "ModalityContributions",
    "Output",
    "Parts",
    "class_activation_map",
    "contributions",
    "grid_regions",
    "modality_contributions",
    "superpixels",
    "without_content",
]
