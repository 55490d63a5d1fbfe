"""MetaNet (Li et al., 2020, ISBI)."""

from pathlib import Path

from mmfusion.interactions.modulators import MetaNet
from mmfusion.models.model import FusionModel
from mmfusion.models.modulated import modulated
from mmfusion.models.objectives import TermSettings
from mmfusion.options import Dropout, Name, Probability, Width, Widths
from mmfusion.registry import Choice, models
from mmfusion.spec import DataSpec


@models.register("metanet")
def metanet(
    spec: DataSpec,
    *,
    encoder: Name = "convnet",
    weights: str | Path = "none",
    shared_encoder: bool = True,
    table_hidden: Width = 64,
    dim: Width = 128,
    tabular_tokenizer: Choice | None = None,
    hidden: Widths = (128,),
    dropout: Dropout = 0.5,
    terms: TermSettings | None = None,
    classification: Choice | None = None,
    label_smoothing: Probability = 0.0,
) -> FusionModel:
    """Metadata scale the last map's channels; see :class:`~mmfusion.interactions.modulators.MetaNet`.

    The images alone have embeddings: the table acts by the scales.

    Args:
        spec: The data.
        encoder: A registered backbone's name, or timm's.
        weights: ``"none"``, ``"pretrained"``, ``"bundled"`` or a file.
        shared_encoder: One encoder for all images of one shape, or one each; the modulator's weights follow.
        table_hidden: Width between the two convolutions of the table.
        dim: Width of each embedding.
        tabular_tokenizer: A registered tabular tokenizer, or a mapping with its name and options; see
            :mod:`mmfusion.tokenizers.tabular`; None: the cells themselves, as published.
        hidden: Widths of the head's hidden layers.
        dropout: Probability after each of them.
        terms: More losses; see :func:`~mmfusion.models.objectives.build_objective`.
        classification: A registered loss of logits and labels; None: cross-entropy.
        label_smoothing: Of the cross-entropy.

    Returns:
        The model, with its objective.

    Raises:
        ValueError: If the spec has no image or no table.
    """
    return modulated(
        "metanet",
        spec,
        lambda routes: MetaNet(routes, hidden=table_hidden),
        encoder=encoder,
        weights=weights,
        shared_encoder=shared_encoder,
        n_stages=1,
        dim=dim,
        tabular_tokenizer=tabular_tokenizer,
        hidden=hidden,
        dropout=dropout,
        terms=terms,
        classification=classification,
        label_smoothing=label_smoothing,
    )
