"""Late fusion: each modality decides, the decisions are combined."""

from pathlib import Path

from mmfusion.heads import LateHead
from mmfusion.heads.late import Combine
from mmfusion.models.model import FusionModel
from mmfusion.models.objectives import TermSettings
from mmfusion.models.pooled import pooled_model
from mmfusion.options import Dropout, Name, Probability, Width, Widths
from mmfusion.registry import Choice, models
from mmfusion.spec import DataSpec


@models.register("late")
def late(
    spec: DataSpec,
    *,
    encoder: Name = "convnet",
    weights: str | Path = "none",
    shared_encoder: bool = True,
    dim: Width = 128,
    tabular_tokenizer: Choice = "mlp",
    token_norm: bool = False,
    combine: Combine = "mean",
    hidden: Widths = (128,),
    dropout: Dropout = 0.5,
    terms: TermSettings | None = None,
    classification: Choice | None = None,
    label_smoothing: Probability = 0.0,
) -> FusionModel:
    """Each modality through an encoder and a head of its own; the logits are combined.

    Trained through the combined logits alone. What a case lacks is left out, and the rest counts for the whole; see
    :class:`~mmfusion.heads.LateHead`.

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
        combine: ``"mean"``, ``"learned"`` (weights), ``"product"`` (of the probabilities) or ``"max"``.
        hidden: Widths of the heads' hidden layers.
        dropout: Probability after each of them.
        terms: More losses; see :func:`~mmfusion.models.objectives.build_objective`.
        classification: A registered loss of logits and labels; None: cross-entropy.
        label_smoothing: Of the cross-entropy.

    Returns:
        The model, with its objective.

    Raises:
        ValueError: If ``combine`` is none of these, or ``"product"`` is asked for a regression.
    """
    return pooled_model(
        spec,
        lambda: LateHead(spec, dim=dim, combine=combine, hidden=hidden, dropout=dropout),
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
