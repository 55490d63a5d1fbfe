"""HyperFusion: a hypernetwork of the table (Duenias et al., 2025)."""

from collections.abc import Sequence
from typing import Annotated

from mmfusion.models.blueprint import Blueprint, part
from mmfusion.models.registration import method
from mmfusion.options import Among, StageIndex, Stages, Width
from mmfusion.spec import DataSpec


@method("hyperfusion", tabular_tokenizer=None)
def hyperfusion(
    spec: DataSpec,
    *,
    n_stages: Stages = 4,
    at: Sequence[StageIndex] = (-2,),
    table_dim: Annotated[Width, Among(4, 8, 16, 32)] = 8,
) -> Blueprint:
    """A convolution of each case's own weights, which the table generates.

    See :class:`~mmfusion.fusion.maps.HyperConv`. The images alone have embeddings: the table acts by the
    weights.

    Args:
        spec: The data.
        n_stages: Stages of the encoder that it can act between, counted from the last.
        at: The points where it acts, from 0 before the first of these stages or from -1 behind the last.
        table_dim: Width of the table's embedding.
    """
    return Blueprint(
        reads=("images",),
        encoder=part("convnet", n_stages=n_stages),
        context="cells",
        maps=[part("hyperfusion", at=at, dim=table_dim)],
    )
