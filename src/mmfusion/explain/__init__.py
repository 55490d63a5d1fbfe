"""Explanations: where in the images, which columns and which modalities an output comes from."""

from mmfusion.explain.account import Account, Parts, contributions
from mmfusion.explain.attention import Attention, attention
from mmfusion.explain.class_activation import class_activation_map
from mmfusion.explain.faithfulness import Faithfulness, faithfulness
from mmfusion.explain.heat_maps import region_shapley
from mmfusion.explain.knowing import Worth, value_of_knowing
from mmfusion.explain.means import Means, mean_contributions
from mmfusion.explain.modalities import ModalityContributions, modality_contributions
from mmfusion.explain.original import original_map
from mmfusion.explain.outputs import Output
from mmfusion.explain.pixels import integrated_gradients, occlusion
from mmfusion.explain.regions import grid_regions, superpixels, without_content
from mmfusion.explain.resemblance import Embedded, Nearest, embedded, nearest_cases, prototype_similarities
from mmfusion.explain.token_shares import token_shares
from mmfusion.explain.verdicts import FaithfulnessTest

__all__ = [
    "Account",
    "Attention",
    "Embedded",
    "Faithfulness",
    "FaithfulnessTest",
    "Means",
    "ModalityContributions",
    "Nearest",
    "Output",
    "Parts",
    "Worth",
    "attention",
    "class_activation_map",
    "contributions",
    "embedded",
    "faithfulness",
    "grid_regions",
    "integrated_gradients",
    "mean_contributions",
    "modality_contributions",
    "nearest_cases",
    "occlusion",
    "original_map",
    "prototype_similarities",
    "region_shapley",
    "superpixels",
    "token_shares",
    "value_of_knowing",
    "without_content",
]
