"""Images alone."""

from mmfusion.models.blueprint import Blueprint
from mmfusion.models.registration import method
from mmfusion.spec import DataSpec


@method("image", without=("tabular_tokenizer",))
def image(spec: DataSpec) -> Blueprint:
    """The images alone: each encoded, pooled and projected, and concatenated, through an MLP."""
    return Blueprint(reads=("images",))
