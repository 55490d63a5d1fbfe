"""MMCL: contrastive pretraining of images and tables (Hager et al., 2023)."""

from typing import Annotated

from mmfusion.models.blueprint import Blueprint, part
from mmfusion.models.registration import method
from mmfusion.options import LogUniform, Probability, TemperatureValue, Uniform, Width
from mmfusion.spec import DataSpec


@method("mmcl")
def mmcl(
    spec: DataSpec,
    *,
    projection_dim: Width = 128,
    temperature: Annotated[TemperatureValue, LogUniform(0.03, 0.5)] = 0.1,
    image_weight: Probability = 0.5,
    corruption_rate: Annotated[Probability, Uniform(0.1, 0.7)] = 0.3,
) -> Blueprint:
    """``concat``, after a phase ``pretrain`` in which each image and its table are brought together; MMCL.

    Pretraining minimizes the contrastive loss of CLIP between projections of the images and of a table some of whose
    cells are drawn anew; training goes on with everything from there. It has as many epochs as training unless
    ``train.phase_epochs.pretrain`` says otherwise.

    NOTE[DIFF] The paper predicts from the image alone, which is ``mmcl_image``. NOTE[DIFF] Each cell is corrupted by a
    draw of its own; the public code corrupts a fixed number of cells per row, none in a table of three columns.
    NOTE[DIFF] With several images, the loss is the mean over the pairs of an image and a table.

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
    return Blueprint(pretraining=part("mmcl", projection_dim=projection_dim, **options))
