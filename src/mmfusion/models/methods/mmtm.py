"""MMTM: the multimodal transfer module (Joze et al., 2020)."""

from collections.abc import Sequence
from typing import Annotated

from mmfusion.models.blueprint import Blueprint, part
from mmfusion.models.registration import method
from mmfusion.options import LogUniform, Reduction, StageIndex, Stages
from mmfusion.spec import DataSpec


@method("mmtm", tabular_tokenizer=None)
def mmtm(
    spec: DataSpec,
    *,
    n_stages: Stages = 4,
    at: Sequence[StageIndex] = (-3, -2, -1),
    ratio: Annotated[Reduction, LogUniform(2, 16)] = 4.0,
) -> Blueprint:
    """Images that gate each other's channels inside their encoders.

    See :class:`~mmfusion.fusion.maps.MMTM`. The embeddings of the images, and that of a table
    as in ``concat``, go through an MLP.

    Args:
        spec: The data.
        n_stages: Stages of the encoder that it can act between, counted from the last.
        at: The points where it acts, from 0 before the first of these stages or from -1 behind the last.
        ratio: Of the joint representation; see there.
    """
    return Blueprint(
        encoder=part("convnet", n_stages=n_stages),
        context="cells",
        maps=[part("mmtm", at=at, ratio=ratio)],
    )
