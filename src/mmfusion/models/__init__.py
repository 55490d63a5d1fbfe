"""Models: the methods, and how a blueprint becomes a model and its loss."""

from pathlib import Path
from typing import Any

from mmfusion.models import methods
from mmfusion.models.ablations import ablate
from mmfusion.models.assembly import assemble
from mmfusion.models.blueprint import Blueprint
from mmfusion.models.context import Context
from mmfusion.models.fusion_model import FusionModel
from mmfusion.models.image_encoders import ImageEncoders
from mmfusion.models.loss import create_loss
from mmfusion.models.own_module import OwnModule
from mmfusion.models.phases import ParameterGroup, Phase, Pretraining
from mmfusion.models.registration import Method, blueprint_of, is_file, method
from mmfusion.registry import models
from mmfusion.spec import DataSpec

__all__ = [
    "Blueprint",
    "Context",
    "FusionModel",
    "ImageEncoders",
    "Method",
    "OwnModule",
    "ParameterGroup",
    "Phase",
    "Pretraining",
    "ablate",
    "assemble",
    "blueprint_of",
    "create_loss",
    "create_model",
    "method",
    "methods",
]


def create_model(model: str | Path | Blueprint, spec: DataSpec, **changes: Any) -> FusionModel:
    """Build a model for data.

    Args:
        model: A registered name, ``mmfusion.list_models()`` has them all; a blueprint's ``.toml`` file; or a blueprint.
        spec: What the data are.
        changes: Options of the method, ``mmfusion.registry.models.options(name)`` has them with their defaults; of a
            blueprint those that all methods share, see :func:`~mmfusion.models.blueprint.shared_options`.

    Returns:
        The model.

    Raises:
        ValueError: If a name or an option is unknown or does not fit the spec.
        FileNotFoundError: If there is no such file.
    """
    if isinstance(model, Blueprint) or is_file(model):
        return assemble(blueprint_of(model, spec, **changes), spec)
    built: FusionModel = models.create(str(model), spec, **changes)
    return built
