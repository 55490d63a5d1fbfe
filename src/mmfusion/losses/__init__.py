"""The loss bank and its losses: CFCML's anchors among others, usable with any network."""

from mmfusion.layers.directions import unit
from mmfusion.losses.alignment import AlignmentLoss, alignment_loss
from mmfusion.losses.anchor_loss import AnchorLoss
from mmfusion.losses.anchors import AnchorSet, anchor_set
from mmfusion.losses.bank import LossBank
from mmfusion.losses.base import Loss
from mmfusion.losses.batch import Batch
from mmfusion.losses.class_balanced import ClassBalancedLoss, class_balanced_loss, effective_number_weights
from mmfusion.losses.consistency import ConsistencyLoss, consistency_loss
from mmfusion.losses.cross_entropy import CrossEntropyLoss, cross_entropy_loss
from mmfusion.losses.crossmodal_anchor import CrossmodalAnchorLoss, crossmodal_anchor_loss
from mmfusion.losses.density import DensityLoss, density_loss
from mmfusion.losses.focal import FocalLoss, focal_loss
from mmfusion.losses.functional import contrast
from mmfusion.losses.hierarchical_anchor import HierarchicalAnchorLoss, hierarchical_anchor_loss
from mmfusion.losses.hsic import HSICLoss, hsic_loss
from mmfusion.losses.info_nce import InfoNCELoss, info_nce_loss
from mmfusion.losses.leakage import LeakageLoss, leakage_loss
from mmfusion.losses.logit_adjusted import LogitAdjustedLoss, logit_adjusted_loss
from mmfusion.losses.masked_columns import MaskedColumnsLoss, masked_columns_loss
from mmfusion.losses.matching import MatchingLoss, matching_loss
from mmfusion.losses.memory import MemoryPrototypes, MovingPrototypes
from mmfusion.losses.metric import MetricLoss
from mmfusion.losses.objective import Objective, target_loss
from mmfusion.losses.orthogonality import OrthogonalityLoss, orthogonality_loss
from mmfusion.losses.prototypes import Prototypes
from mmfusion.losses.sample_anchor import SampleAnchorLoss, sample_anchor_loss
from mmfusion.losses.temperature import Temperature
from mmfusion.losses.uniformity import UniformityLoss, uniformity_loss
from mmfusion.losses.unimodal_anchor import UnimodalAnchorLoss, unimodal_anchor_loss
from mmfusion.losses.weighting import GradNormWeighting, Schedule, UncertaintyWeighting, Weighting

__all__ = [
    "AlignmentLoss",
    "AnchorLoss",
    "AnchorSet",
    "Batch",
    "ClassBalancedLoss",
    "ConsistencyLoss",
    "CrossEntropyLoss",
    "CrossmodalAnchorLoss",
    "DensityLoss",
    "FocalLoss",
    "GradNormWeighting",
    "HSICLoss",
    "HierarchicalAnchorLoss",
    "InfoNCELoss",
    "LeakageLoss",
    "LogitAdjustedLoss",
    "Loss",
    "LossBank",
    "MaskedColumnsLoss",
    "MatchingLoss",
    "MemoryPrototypes",
    "MetricLoss",
    "MovingPrototypes",
    "Objective",
    "OrthogonalityLoss",
    "Prototypes",
    "SampleAnchorLoss",
    "Schedule",
    "Temperature",
    "UncertaintyWeighting",
    "UniformityLoss",
    "UnimodalAnchorLoss",
    "Weighting",
    "alignment_loss",
    "anchor_set",
    "class_balanced_loss",
    "consistency_loss",
    "contrast",
    "cross_entropy_loss",
    "crossmodal_anchor_loss",
    "density_loss",
    "effective_number_weights",
    "focal_loss",
    "hierarchical_anchor_loss",
    "hsic_loss",
    "info_nce_loss",
    "leakage_loss",
    "logit_adjusted_loss",
    "masked_columns_loss",
    "matching_loss",
    "orthogonality_loss",
    "sample_anchor_loss",
    "target_loss",
    "uniformity_loss",
    "unimodal_anchor_loss",
    "unit",
]
