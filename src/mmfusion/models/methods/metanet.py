"""MetaNet (Li et al., 2020)."""

from typing import Annotated

from mmfusion.models.blueprint import Blueprint, part
from mmfusion.models.registration import method
from mmfusion.options import Among, Width
from mmfusion.spec import DataSpec


@method("metanet", tabular_tokenizer=None)
def metanet(spec: DataSpec, *, table_hidden: Annotated[Width, Among(16, 32, 64, 128)] = 64) -> Blueprint:
    """Metadata scale the last map's channels; see :class:`~mmfusion.fusion.maps.MetaNet`.

    The images alone have embeddings: the table acts by the scales.

    Args:
        spec: The data.
        table_hidden: Width between the two convolutions of the table.
    """
    return Blueprint(reads=("images",), context="cells", maps=[part("metanet", hidden=table_hidden)])
