"""The multimodal transfer module (Joze et al., 2020, CVPR)."""

from collections.abc import Sequence
from pathlib import Path

from mmfusion.interactions.modulators import MMTM
from mmfusion.models.model import FusionModel
from mmfusion.models.modulated import modulated
from mmfusion.models.objectives import TermSettings
from mmfusion.options import Dropout, Name, Probability, Reduction, StageIndex, Stages, Width, Widths
from mmfusion.registry import Choice, models
from mmfusion.spec import DataSpec


@models.register("mmtm")
def mmtm(
    spec: DataSpec,
    *,
    encoder: Name = "convnet",
    weights: str | Path = "none",
    shared_encoder: bool = True,
    n_stages: Stages = 4,
    at: Sequence[StageIndex] = (-3, -2, -1),
    ratio: Reduction = 4.0,
    dim: Width = 128,
    tabular_tokenizer: Choice | None = None,
    hidden: Widths = (128,),
    dropout: Dropout = 0.5,
    terms: TermSettings | None = None,
    classification: Choice | None = None,
    label_smoothing: Probability = 0.0,
) -> FusionModel:
    """Images that gate each other's channels inside their encoders.

    See :class:`~mmfusion.interactions.modulators.MMTM`. The embeddings of the images, and that of a table
    as in ``concat``, go through an MLP.

    Args:
        spec: The data.
        encoder: A registered backbone's name, or timm's, that can be taken apart.
        weights: ``"none"``, ``"pretrained"``, ``"bundled"`` or a file.
        shared_encoder: One encoder for all images of one shape, or one each; the gates are each image's own.
        n_stages: Encoder stages that it can act between, counted from the last.
        at: The points where it acts, from 0 before the first of these stages or from -1 behind the last.
        ratio: Of the joint representation; see there.
        dim: Width of each embedding.
        tabular_tokenizer: A registered tabular tokenizer, or a mapping with its name and options; see
            :mod:`mmfusion.tokenizers.tabular`; None: the cells themselves, and for the table's
            embedding an MLP.
        hidden: Widths of the head's hidden layers.
        dropout: Probability after each of them.
        terms: More losses; see :func:`~mmfusion.models.objectives.build_objective`.
        classification: A registered loss of logits and labels; None: cross-entropy.
        label_smoothing: Of the cross-entropy.

    Returns:
        The model, with its objective.

    Raises:
        ValueError: If the spec has no image or a single modality, or the encoder cannot be taken apart or has fewer
            stages.
    """
    return modulated(
        "mmtm",
        spec,
        lambda routes: MMTM(routes, at=at, ratio=ratio),
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
        with_table=True,
    )
