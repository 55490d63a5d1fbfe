"""Dynamic affine feature map transform (Poelsterl et al., 2021, MICCAI; Wolf et al., 2022)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from mmfusion.interactions.modulators import Daft
from mmfusion.models.model import FusionModel
from mmfusion.models.modulated import modulated
from mmfusion.models.objectives import TermSettings
from mmfusion.options import Dropout, Finite, Name, OneOf, Probability, Reduction, StageIndex, Stages, Width, Widths
from mmfusion.registry import Choice, models
from mmfusion.spec import DataSpec


@models.register("daft")
def daft(
    spec: DataSpec,
    *,
    encoder: Name = "convnet",
    weights: str | Path = "none",
    shared_encoder: bool = True,
    n_stages: Stages = 4,
    at: Sequence[StageIndex] = (-2,),
    reduction: Reduction = 7.0,
    activation: Annotated[str, OneOf(("linear", "tanh", "sigmoid"))] = "linear",
    offset: Finite = 0.0,
    dim: Width = 128,
    tabular_tokenizer: Choice | None = None,
    hidden: Widths = (128,),
    dropout: Dropout = 0.5,
    terms: TermSettings | None = None,
    classification: Choice | None = None,
    label_smoothing: Probability = 0.0,
) -> FusionModel:
    """Maps scaled and shifted by themselves and the table; see :class:`~mmfusion.interactions.modulators.Daft`.

    The images alone have embeddings: the table acts by scale and shift. NOTE[DIFF] It acts on the input of the last
    stage, which is that of the last block where a stage has one block. NOTE[DIFF] The hidden layer is a seventh of its
    input, by the paper's ratio r; the authors' code gives it 7 features, whatever the input.

    Args:
        spec: The data.
        encoder: A registered backbone's name, or timm's, that can be taken apart.
        weights: ``"none"``, ``"pretrained"``, ``"bundled"`` or a file.
        shared_encoder: One encoder for all images of one shape, or one each; the modulator's weights follow.
        n_stages: Encoder stages that it can act between, counted from the last.
        at: The points where it acts, from 0 before the first of these stages or from -1 behind the last.
        reduction: Width of the map's means and the table over that of the hidden layer (r).
        activation: ``"linear"``, ``"tanh"`` or ``"sigmoid"``, of the scale.
        offset: Added to the scale; 0 as published, 1 to start from the encoder's own maps.
        dim: Width of each embedding.
        tabular_tokenizer: A registered tabular tokenizer, or a mapping with its name and options; see
            :mod:`mmfusion.tokenizers.tabular`; None: the cells themselves, as published.
        hidden: Widths of the head's hidden layers.
        dropout: Probability after each of them.
        terms: More losses; see :func:`~mmfusion.models.objectives.build_objective`.
        classification: A registered loss of logits and labels; None: cross-entropy.
        label_smoothing: Of the cross-entropy.

    Returns:
        The model, with its objective.

    Raises:
        ValueError: If an option is out of range, the spec has no image or no table, or the encoder cannot be taken
            apart or has fewer stages.
    """
    return modulated(
        "daft",
        spec,
        lambda routes: Daft(routes, at=at, reduction=reduction, activation=activation, offset=offset),
        encoder=encoder,
        weights=weights,
        shared_encoder=shared_encoder,
        n_stages=n_stages,
        dim=dim,
        tabular_tokenizer=tabular_tokenizer,
        hidden=hidden,
        dropout=dropout,
        terms=terms,
        classification=classification,
        label_smoothing=label_smoothing,
    )
