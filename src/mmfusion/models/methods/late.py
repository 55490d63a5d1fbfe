"""Late fusion: a head per modality, their outputs combined."""

from typing import Annotated

from mmfusion.models.blueprint import Blueprint
from mmfusion.models.registration import method
from mmfusion.options import Among, OneOf
from mmfusion.spec import DataSpec


@method("late")
def late(
    spec: DataSpec,
    *,
    combine: Annotated[
        str, OneOf(("mean", "learned", "product", "max")), Among("mean", "learned", "product", "max")
    ] = "mean",
) -> Blueprint:
    """Each modality through an encoder and a head of its own; the logits are combined.

    Trained through the combined logits alone. An absent modality is left out, and the weights of the rest are
    normalized; see :mod:`mmfusion.fusion.decisions`.

    Args:
        spec: The data.
        combine: ``"mean"``, ``"learned"`` (weights), ``"product"`` (of the probabilities) or ``"max"``.
    """
    return Blueprint(decision=combine)
