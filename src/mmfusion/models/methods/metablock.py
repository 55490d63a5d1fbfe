"""MetaBlock (Pacheco and Krohling, 2021)."""

from mmfusion.models.blueprint import Blueprint
from mmfusion.models.registration import method
from mmfusion.spec import DataSpec


@method("metablock", tabular_tokenizer=None)
def metablock(spec: DataSpec) -> Blueprint:
    """Metadata gate the last map's channels; see :class:`~mmfusion.fusion.maps.MetaBlock`.

    The images alone have embeddings: the table acts by the gates.
    """
    return Blueprint(reads=("images",), context="cells", maps=["metablock"])
