"""HyperFusion: a hypernetwork of the table (Duenias et al., 2025, Medical Image Analysis)."""

from collections.abc import Sequence
from pathlib import Path

from mmfusion.interactions.modulators import HyperConv
from mmfusion.models.model import FusionModel
from mmfusion.models.modulated import mean_square, modulated
from mmfusion.models.objectives import TermSettings
from mmfusion.options import Dropout, Name, Probability, StageIndex, Stages, Width, Widths
from mmfusion.registry import Choice, models
from mmfusion.spec import DataSpec


@models.register("hyperfusion")
def hyperfusion(
    spec: DataSpec,
    *,
    encoder: Name = "convnet",
    weights: str | Path = "none",
    shared_encoder: bool = True,
    n_stages: Stages = 4,
    at: Sequence[StageIndex] = (-2,),
    table_dim: Width = 8,
    dim: Width = 128,
    tabular_tokenizer: Choice | None = None,
    hidden: Widths = (128,),
    dropout: Dropout = 0.5,
    terms: TermSettings | None = None,
    classification: Choice | None = None,
    label_smoothing: Probability = 0.0,
) -> FusionModel:
    """A convolution of each case's own weights, which the table generates.

    See :class:`~mmfusion.interactions.modulators.HyperConv`. The images alone have embeddings: the table acts by the
    weights.

    Args:
        spec: The data.
        encoder: A registered backbone's name, or timm's, that can be taken apart.
        weights: ``"none"``, ``"pretrained"``, ``"bundled"`` or a file.
        shared_encoder: One encoder for all images of one shape, or one each; the modulator's weights follow.
        n_stages: Encoder stages that it can act between, counted from the last.
        at: The points where it acts, from 0 before the first of these stages or from -1 behind the last.
        table_dim: Width of the table's embedding.
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
        ValueError: If the spec has no image or no table, or the encoder cannot be taken apart or has fewer stages.
    """
    # A tokenizer learns what it gives, so its mean square is not known beforehand: taken as 1.
    of_cells = mean_square(spec.tables) if tabular_tokenizer is None else 1.0
    return modulated(
        "hyperfusion",
        spec,
        lambda routes: HyperConv(routes, at=at, dim=table_dim, mean_square=of_cells),
        encoder=encoder,
        weights=weights,
        shared_encoder=shared_encoder,
        n_stages=n_stages,
        dim=dim,
        tabular_tokenizer=tabular_tokenizer,
        hidden=hidden,
        dropout=dropout,
        terms=terms,
        classification=classification,
        label_smoothing=label_smoothing,
    )
