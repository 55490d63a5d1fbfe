"""GMU: the gated multimodal unit (Arevalo et al., 2017)."""

from mmfusion.models.blueprint import Blueprint
from mmfusion.models.registration import method
from mmfusion.spec import DataSpec


@method("gmu")
def gmu(spec: DataSpec) -> Blueprint:
    """Gates decide feature by feature how much of each modality passes.

    See :class:`~mmfusion.fusion.vectors.GatedFusion`.

    NOTE[DIFF] The paper's classifier is a maxout network; here it is the MLP that the other methods have.
    """
    return Blueprint(vectors="gated")
