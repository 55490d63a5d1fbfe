"""AMF: adaptive modulation and fusion (Yu et al., 2025)."""

from typing import Annotated

from mmfusion.models.blueprint import Blueprint, part
from mmfusion.models.registration import method
from mmfusion.options import LogUniform, LossWeight, NotNegative
from mmfusion.spec import DataSpec


@method("amf")
def amf(
    spec: DataSpec,
    *,
    confidence: NotNegative = 1.0,
    density_weight: Annotated[LossWeight, LogUniform(0.5, 50)] = 5.0,
    leakage_weight: Annotated[LossWeight, LogUniform(0.5, 50)] = 5.0,
) -> Blueprint:
    """Each modality has features of the fused vector that are its own; two losses keep it so.

    Of the ``dim`` features tables have ``dim / (1 + confidence)``, rounded down, and images the rest; several of a kind
    share equally. See :class:`~mmfusion.fusion.vectors.SplitFusion` and :mod:`mmfusion.losses.modulation`.

    NOTE[DIFF] The module alone, without the paper's tabular encoder FT-Mamba and its contrastive pretraining.
    NOTE[DIFF] 128 features instead of 2048, no batch normalization in the projections, and the MLP that the other
    methods have instead of a linear layer; ``hidden=()`` leaves one. NOTE[DIFF] With more than two modalities density
    is compared in every pair.

    Args:
        spec: The data.
        confidence: How much the images are trusted over the tables, the ratio of their features; the paper's prior
            knowledge of a dataset (0.95 in its configuration for OL3I).
        density_weight: Of the loss that makes the modalities' features equally dense.
        leakage_weight: Of the loss on features that are another modality's.
    """
    weights = {"density": density_weight, "leakage": leakage_weight}
    return Blueprint(
        tokens={"layers": ["projection"]},
        vectors=part("split", confidence=confidence),
        loss={"terms": {name: {"term": name, "weight": weight} for name, weight in weights.items()}},
    )
