"""The loss bank: CFCML's anchors and what stands beside them, usable with any network."""

from mmfusion.layers.directions import unit
from mmfusion.losses.anchors import (
    AnchorSet,
    anchor_set,
    crossmodal_anchor_loss,
    hierarchical_anchor_loss,
    sample_anchor_loss,
    unimodal_anchor_loss,
)
from mmfusion.losses.bank import LossBank
from mmfusion.losses.class_terms import (
    ClassBalanced,
    CrossEntropy,
    Focal,
    LogitAdjusted,
)
from mmfusion.losses.classification import (
    class_balanced,
    cross_entropy,
    effective_number_weights,
    focal,
    logit_adjusted,
)
from mmfusion.losses.crossmodal import (
    Alignment,
    Consistency,
    InfoNCE,
    Uniformity,
    alignment,
    consistency,
    info_nce,
    uniformity,
)
from mmfusion.losses.distributed import gather_rows, global_batch
from mmfusion.losses.functional import contrast
from mmfusion.losses.independence import HSIC, Orthogonality, hsic, orthogonality
from mmfusion.losses.matching import Matching, matching_loss
from mmfusion.losses.memory import MemoryPrototypes, MovingPrototypes
from mmfusion.losses.metric import Metric
from mmfusion.losses.objective import Objective, target_loss
from mmfusion.losses.prototypes import Prototypes, prototypes
from mmfusion.losses.reconstruction import MaskedColumns, column_reconstruction
from mmfusion.losses.temperature import Temperature
from mmfusion.losses.term import Term
from mmfusion.losses.terms import AnchorTerm, CrossmodalAnchor, HierarchicalAnchor, SampleAnchor, UnimodalAnchor
from mmfusion.losses.weighting import GradNormWeighting, Schedule, UncertaintyWeighting, Weighting

__all__ = [
    "HSIC",
    "Alignment",
    "AnchorSet",
    "AnchorTerm",
    "ClassBalanced",
    "Consistency",
    "CrossEntropy",
    "CrossmodalAnchor",
    "Focal",
    "GradNormWeighting",
    "HierarchicalAnchor",
    "InfoNCE",
    "LogitAdjusted",
    "LossBank",
    "MaskedColumns",
    "Matching",
    "MemoryPrototypes",
    "Metric",
    "MovingPrototypes",
    "Objective",
    "Orthogonality",
    "Prototypes",
    "SampleAnchor",
    "Schedule",
    "Temperature",
    "Term",
    "UncertaintyWeighting",
    "Uniformity",
    "UnimodalAnchor",
    "Weighting",
    "alignment",
    "anchor_set",
    "class_balanced",
    "column_reconstruction",
    "consistency",
    "contrast",
    "cross_entropy",
    "crossmodal_anchor_loss",
    "effective_number_weights",
    "focal",
    "gather_rows",
    "global_batch",
    "hierarchical_anchor_loss",
    "hsic",
    "info_nce",
    "logit_adjusted",
    "matching_loss",
    "orthogonality",
    "prototypes",
    "sample_anchor_loss",
    "target_loss",
    "uniformity",
    "unimodal_anchor_loss",
    "unit",
]
