"""The methods, each a builder from a :class:`~mmfusion.spec.DataSpec`."""

from typing import Any

from mmfusion.models import (
    amf,
    baselines,
    cfcml,
    daft,
    film,
    gated_query,
    gmu,
    healnet,
    hyperfusion,
    late,
    lmf,
    maximum,
    mbt,
    metablock,
    metanet,
    mmcl,
    mmtm,
    mul,
    mult,
    tformer,
    tip,
)
from mmfusion.models.model import FusionModel
from mmfusion.models.phases import ParameterGroup, Phase, Pretraining
from mmfusion.registry import models
from mmfusion.spec import DataSpec

__all__ = [
    "FusionModel",
    "ParameterGroup",
    "Phase",
    "Pretraining",
    "amf",
    "baselines",
    "cfcml",
    "create_model",
    "daft",
    "film",
    "gated_query",
    "gmu",
    "healnet",
    "hyperfusion",
    "late",
    "lmf",
    "maximum",
    "mbt",
    "metablock",
    "metanet",
    "mmcl",
    "mmtm",
    "mul",
    "mult",
    "tformer",
    "tip",
]


def create_model(name: str, spec: DataSpec, **options: Any) -> FusionModel:
    """Build a registered model for data.

    Args:
        name: ``mmfusion.registry.models.list()`` has them all.
        spec: What the data are.
        options: The builder's options; ``mmfusion.registry.models.options(name)`` has them with their defaults.

    Returns:
        The model.

    Raises:
        ValueError: If the name or an option is unknown or does not fit the spec.
    """
    model: FusionModel = models.create(name, spec, **options)
    return model
