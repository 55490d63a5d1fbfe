"""DAFT: the dynamic affine feature map transform (Poelsterl et al., 2021)."""

from collections.abc import Sequence
from typing import Annotated

from mmfusion.models.blueprint import Blueprint, part
from mmfusion.models.registration import method
from mmfusion.options import Finite, LogUniform, OneOf, Reduction, StageIndex, Stages
from mmfusion.spec import DataSpec


@method("daft", tabular_tokenizer=None)
def daft(
    spec: DataSpec,
    *,
    n_stages: Stages = 4,
    at: Sequence[StageIndex] = (-2,),
    reduction: Annotated[Reduction, LogUniform(2, 32)] = 7.0,
    activation: Annotated[str, OneOf(("linear", "tanh", "sigmoid"))] = "linear",
    offset: Finite = 0.0,
) -> Blueprint:
    """Maps scaled and shifted by themselves and the table; see :class:`~mmfusion.fusion.maps.Daft`.

    The images alone have embeddings: the table acts by scale and shift. NOTE[DIFF] It acts on the input of the last
    stage, which is that of the last block where a stage has one block. NOTE[DIFF] The hidden layer is a seventh of its
    input, by the paper's ratio r; the authors' code gives it 7 features, whatever the input.

    Args:
        spec: The data.
        n_stages: Stages of the encoder that it can act between, counted from the last.
        at: The points where it acts, from 0 before the first of these stages or from -1 behind the last.
        reduction: Width of the map's means and the table over that of the hidden layer (r).
        activation: ``"linear"``, ``"tanh"`` or ``"sigmoid"``, of the scale.
        offset: Added to the scale; 0 as published, 1 to start from the encoder's own maps.
    """
    return Blueprint(
        reads=("images",),
        encoder=part("convnet", n_stages=n_stages),
        context="cells",
        maps=[part("daft", at=at, reduction=reduction, activation=activation, offset=offset)],
    )
