"""MAX: the elementwise maximum of the modalities."""

from mmfusion.models.blueprint import Blueprint
from mmfusion.models.registration import method
from mmfusion.spec import DataSpec


@method("max")
def maximum(spec: DataSpec) -> Blueprint:
    """The elementwise maximum of the modalities' embeddings, through an MLP: MAX in TIP's comparison (Du et al., 2024).

    An absent modality takes no part in the maximum.
    """
    return Blueprint(vectors="max")
