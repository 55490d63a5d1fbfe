"""Low-rank multimodal fusion (Liu et al., 2018), and tensor fusion (Zadeh et al., 2017)."""

from pathlib import Path

from torch import nn

from mmfusion.heads import FusedHead, LowRankFusion, TensorFusion
from mmfusion.models.model import FusionModel
from mmfusion.models.objectives import TermSettings
from mmfusion.models.pooled import pooled_model
from mmfusion.options import Count, Dropout, Name, Probability, Width, Widths
from mmfusion.registry import Choice, models
from mmfusion.spec import DataSpec


@models.register("lmf")
def lmf(
    spec: DataSpec,
    *,
    encoder: Name = "convnet",
    weights: str | Path = "none",
    shared_encoder: bool = True,
    dim: Width = 128,
    tabular_tokenizer: Choice = "mlp",
    token_norm: bool = False,
    rank: Count | None = 4,
    tensor_dim: Width = 32,
    hidden: Widths = (128,),
    dropout: Dropout = 0.5,
    terms: TermSettings | None = None,
    classification: Choice | None = None,
    label_smoothing: Probability = 0.0,
) -> FusionModel:
    """A linear map of the outer product of all embeddings, by low-rank factors or, with ``rank=None``, whole.

    See :class:`~mmfusion.heads.LowRankFusion` and :class:`~mmfusion.heads.TensorFusion`.

    NOTE[DIFF] The fused vector goes through the MLP that the other methods have; ``hidden=()`` leaves one linear layer.

    Args:
        spec: The data.
        encoder: A registered backbone's name, or timm's.
        weights: ``"none"``, ``"pretrained"``, ``"bundled"`` or a file.
        shared_encoder: One encoder for all images of one shape, or one each.
        dim: Width of each modality's embedding.
        tabular_tokenizer: A registered tabular tokenizer, or a mapping with its name and options; see
            :mod:`mmfusion.tokenizers.tabular`.
        token_norm: Bring the tokens of all modalities to one scale before they meet; see
            :class:`~mmfusion.models.FusionModel`.
        rank: Number of low-rank terms (the paper tries 1, 4, 8 and 16); None: the whole product, TFN.
        tensor_dim: Of TFN alone: embeddings wider than this are projected to it first.
        hidden: Widths of the head's hidden layers.
        dropout: Probability after each of them.
        terms: More losses; see :func:`~mmfusion.models.objectives.build_objective`.
        classification: A registered loss of logits and labels; None: cross-entropy.
        label_smoothing: Of the cross-entropy.

    Returns:
        The model, with its objective.

    Raises:
        ValueError: If ``rank`` or ``tensor_dim`` is not positive, or the whole product does not fit into memory.
    """
    fusion: nn.Module
    if rank is None:
        fusion = TensorFusion(spec.names, dim=dim, width=dim, project=tensor_dim)
    else:
        fusion = LowRankFusion(spec.names, dim=dim, width=dim, rank=rank)
    return pooled_model(
        spec,
        lambda: FusedHead(spec, fusion, width=dim, hidden=hidden, dropout=dropout),
        encoder=encoder,
        weights=weights,
        shared_encoder=shared_encoder,
        dim=dim,
        tabular_tokenizer=tabular_tokenizer,
        token_norm=token_norm,
        terms=terms,
        classification=classification,
        label_smoothing=label_smoothing,
    )
