"""MMCL as its paper evaluates it: the images alone after pretraining with tables (Hager et al., 2023)."""

from mmfusion.models.blueprint import Blueprint, part
from mmfusion.models.registration import method
from mmfusion.options import Probability, TemperatureValue, Width
from mmfusion.spec import DataSpec


@method("mmcl_image")
def mmcl_image(
    spec: DataSpec,
    *,
    projection_dim: Width = 128,
    temperature: TemperatureValue = 0.1,
    image_weight: Probability = 0.5,
    corruption_rate: Probability = 0.3,
) -> Blueprint:
    """``image``, after a phase ``pretrain`` with the table; what MMCL's paper evaluates. See :func:`mmcl`.

    The table is needed in pretraining alone; predictions do not read it.

    Args:
        spec: The data, with an image and a table.
        projection_dim: Width of what the contrastive loss compares.
        temperature: Of the contrastive loss (tau).
        image_weight: What finding the table from the image counts, 0 to 1 (lambda); the other way counts the rest.
        corruption_rate: Probability that a cell of the table is drawn from its column's marginal.

    Raises:
        ValueError: If the spec has no image or no table.
    """
    if not spec.images or not spec.tables:
        raise ValueError(f"it needs an image and a table modality, the spec has {spec.names}")
    options = {"temperature": temperature, "image_weight": image_weight, "corruption_rate": corruption_rate}
    return Blueprint(reads=("images",), pretraining=part("mmcl", projection_dim=projection_dim, **options))
