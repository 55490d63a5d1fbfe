"""Feature-wise linear modulation (Perez et al., 2018, AAAI)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from mmfusion.interactions.modulators import Film
from mmfusion.models.model import FusionModel
from mmfusion.models.modulated import modulated
from mmfusion.models.objectives import TermSettings
from mmfusion.options import Dropout, Name, OneOf, Probability, StageIndex, Stages, Width, Widths
from mmfusion.registry import Choice, models
from mmfusion.spec import DataSpec


@models.register("film")
def film(
    spec: DataSpec,
    *,
    encoder: Name = "convnet",
    weights: str | Path = "none",
    shared_encoder: bool = True,
    n_stages: Stages = 4,
    variant: Annotated[str, OneOf(("perez", "poelsterl"))] = "perez",
    at: Sequence[StageIndex] | None = None,
    table_hidden: Widths | None = None,
    norm: bool = False,
    dim: Width = 128,
    tabular_tokenizer: Choice | None = None,
    hidden: Widths = (128,),
    dropout: Dropout = 0.5,
    terms: TermSettings | None = None,
    classification: Choice | None = None,
    label_smoothing: Probability = 0.0,
) -> FusionModel:
    """Maps scaled and shifted by the table; see :class:`~mmfusion.interactions.modulators.Film`.

    The images alone have embeddings: the table acts by scale and shift.

    Args:
        spec: The data.
        encoder: A registered backbone's name, or timm's, that can be taken apart.
        weights: ``"none"``, ``"pretrained"``, ``"bundled"`` or a file.
        shared_encoder: One encoder for all images of one shape, or one each; the modulator's weights follow.
        n_stages: Encoder stages that it can act between, counted from the last.
        variant: ``"perez"``: ``(1 + gamma) * map + beta``, linear in the table, behind each stage. ``"poelsterl"``,
            which DAFT's authors compare with: ``gamma * map + beta`` before the last stage, through 7 hidden features,
            without biases.
        at: The points where it acts, from 0 before the first of these stages or from -1 behind the last; None for the
            variant's.
        table_hidden: Widths of hidden layers behind the table; None for the variant's.
        norm: Normalise before and rectify behind, as in the paper's own blocks.
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
        ValueError: If the variant is unknown, the spec has no image or no table, or the encoder cannot be taken apart
            or has fewer stages.
    """
    if variant not in ("perez", "poelsterl"):
        raise ValueError(f"variant must be 'perez' or 'poelsterl', got {variant!r}")
    perez = variant == "perez"
    layers = (() if perez else (7,)) if table_hidden is None else tuple(table_hidden)
    points = (tuple(range(1, n_stages + 1)) if perez else (-2,)) if at is None else tuple(at)
    return modulated(
        "film",
        spec,
        lambda routes: Film(routes, at=points, hidden=layers, bias=perez, offset=float(perez), norm=norm),
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
