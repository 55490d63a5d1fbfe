"""Explanations: where in the images, which columns and which modalities an output comes from."""

from mmfusion.explain.account import Account, Parts, contributions
from mmfusion.explain.attention import Attention, attention
from mmfusion.explain.class_activation import class_activation_map
from mmfusion.explain.faithfulness import Faithfulness, faithfulness
from mmfusion.explain.faithfulness_test import FaithfulnessTest
from mmfusion.explain.heat_maps import region_shapley
from mmfusion.explain.knowing import Worth, value_of_knowing
from mmfusion.explain.modalities import ModalityContributions, modality_contributions
from mmfusion.explain.original import original_map
from mmfusion.explain.outputs import Output
from mmfusion.explain.pixels import integrated_gradients, occlusion
from mmfusion.explain.regions import grid_regions, superpixels, without_content
from mmfusion.explain.token_shares import token_shares

__all__ = [
    "Account",
    "Attention",
    "Faithfulness",
    "FaithfulnessTest",
    "ModalityContributions",
    "Output",
    "Parts",
    "Worth",
    "attention",
    "class_activation_map",
    "contributions",
    "faithfulness",
    "grid_regions",
    "integrated_gradients",
    "modality_contributions",
    "occlusion",
    "original_map",
    "region_shapley",
    "superpixels",
    "token_shares",
    "value_of_knowing",
    "without_content",
]
