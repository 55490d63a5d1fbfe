"""Concatenation."""

from mmfusion.models.blueprint import Blueprint
from mmfusion.models.registration import method
from mmfusion.spec import DataSpec


@method("concat")
def concat(spec: DataSpec) -> Blueprint:
    """Plain concatenation: ``[pool(image); MLP(table)]`` through an MLP.

    A tokenizer of several tokens is averaged over them.
    """
    return Blueprint()
