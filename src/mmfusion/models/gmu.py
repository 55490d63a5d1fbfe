"""The gated multimodal unit (Arevalo et al., 2017)."""

from pathlib import Path

from mmfusion.heads import FusedHead, GatedFusion
from mmfusion.models.model import FusionModel
from mmfusion.models.objectives import TermSettings
from mmfusion.models.pooled import pooled_model
from mmfusion.options import Dropout, Name, Probability, Width, Widths
from mmfusion.registry import Choice, models
from mmfusion.spec import DataSpec


@models.register("gmu")
def gmu(
    spec: DataSpec,
    *,
    encoder: Name = "convnet",
    weights: str | Path = "none",
    shared_encoder: bool = True,
    dim: Width = 128,
    tabular_tokenizer: Choice = "mlp",
    token_norm: bool = False,
    hidden: Widths = (128,),
    dropout: Dropout = 0.5,
    terms: TermSettings | None = None,
    classification: Choice | None = None,
    label_smoothing: Probability = 0.0,
) -> FusionModel:
    """A gate decides feature by feature how much of each modality passes; see :class:`~mmfusion.heads.GatedFusion`.

    NOTE[DIFF] The paper's classifier is a maxout network; here it is the MLP that the other methods have.

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
        hidden: Widths of the head's hidden layers.
        dropout: Probability after each of them.
        terms: More losses; see :func:`~mmfusion.models.objectives.build_objective`.
        classification: A registered loss of logits and labels; None: cross-entropy.
        label_smoothing: Of the cross-entropy.

    Returns:
        The model, with its objective.
    """
    fusion = GatedFusion(spec.names, dim=dim)
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
