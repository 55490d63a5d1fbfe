"""Interactive fusion (Duanmu et al., 2020)."""

from typing import Annotated

from mmfusion.models.blueprint import Blueprint, part
from mmfusion.models.registration import method
from mmfusion.options import Among, Stages, Width
from mmfusion.spec import DataSpec


@method("mul", tabular_tokenizer=None)
def mul(spec: DataSpec, *, n_stages: Stages = 4, table_hidden: Annotated[Width, Among(4, 8, 16, 32)] = 8) -> Blueprint:
    """The table's vectors times the maps, before each stage and behind the last.

    See :class:`~mmfusion.fusion.maps.Mul`. The images alone have embeddings: the table acts by the product.

    Args:
        spec: The data.
        n_stages: Stages of the encoder that it can act between, counted from the last.
        table_hidden: Width of the hidden layer behind the table.
    """
    return Blueprint(
        reads=("images",),
        encoder=part("convnet", n_stages=n_stages),
        context="cells",
        maps=[part("mul", hidden=table_hidden)],
    )
