"""LMF: low-rank multimodal fusion (Liu et al., 2018), and tensor fusion (Zadeh et al., 2017)."""

from typing import Annotated

from mmfusion.models.blueprint import Blueprint, part
from mmfusion.models.registration import method
from mmfusion.options import Among, Count, Width
from mmfusion.spec import DataSpec


@method("lmf")
def lmf(spec: DataSpec, *, rank: Annotated[Count, Among(1, 4, 8, 16)] | None = 4, tensor_dim: Width = 32) -> Blueprint:
    """A linear map of the outer product of all embeddings, by low-rank factors or, with ``rank=None``, whole.

    See :class:`~mmfusion.fusion.vectors.LowRankFusion` and :class:`~mmfusion.fusion.vectors.TensorFusion`.

    NOTE[DIFF] The fused vector goes through the MLP that the other methods have; ``hidden=()`` leaves one linear layer.

    Args:
        spec: The data.
        rank: Number of low-rank terms (the paper tries 1, 4, 8 and 16); None: the whole product, TFN.
        tensor_dim: Of TFN alone: embeddings wider than this are projected to it first.
    """
    return Blueprint(vectors=part("tensor", project=tensor_dim) if rank is None else part("low_rank", rank=rank))
