"""CFCML: coarse-to-fine crossmodal learning (arXiv 2603.20016)."""

from pathlib import Path
from typing import Annotated, Any

from torch import nn

from mmfusion.heads import ConcatHead
from mmfusion.interactions import CrossmodalEnhancement
from mmfusion.losses import CrossmodalAnchorLoss, SampleAnchorLoss, UnimodalAnchorLoss
from mmfusion.losses.anchor_loss import Reduction
from mmfusion.models.model import FusionModel
from mmfusion.models.objectives import TermSettings, build_objective
from mmfusion.models.parts import image_encoders
from mmfusion.options import (
    Count,
    Dropout,
    Heads,
    LossWeight,
    Name,
    OneOf,
    Probability,
    Range,
    Stages,
    TemperatureValue,
    Width,
    Widths,
)
from mmfusion.readouts import GranularityMerge
from mmfusion.registry import Choice, ablations, compressions, models, tabular_tokenizers
from mmfusion.spec import Classes, DataSpec
from mmfusion.tokenizers import Compressed, Pyramid, create_tabular_tokenizer


@models.register("cfcml")
def cfcml(
    spec: DataSpec,
    *,
    encoder: Name = "convnet",
    weights: str | Path = "none",
    shared_encoder: bool = True,
    dim: Width = 128,
    n_heads: Heads = 4,
    n_stages: Stages = 4,
    image_latents: Count = 32,
    table_latents: Count = 24,
    compression: Choice = "pool",
    tabular_tokenizer: Choice = "feature",
    multigranularity: bool = True,
    detach_stages: bool = False,
    enhancement: bool = True,
    merge: Annotated[str, OneOf(("published", "single"))] = "published",
    token_norm: bool = False,
    hidden: Widths = (128,),
    dropout: Dropout = 0.5,
    sample_weight: LossWeight = 0.04,
    unimodal_weight: LossWeight = 0.06,
    crossmodal_weight: LossWeight = 0.18,
    temperature: TemperatureValue = 0.07,
    learn_temperature: bool = False,
    reduction: Reduction = "normalized",
    eps: Annotated[float, Range(0, 1)] = 0.0,
    prototypes: Choice = "batch",
    weighting: Choice = "constant",
    terms: TermSettings | None = None,
    classification: Choice | None = None,
    label_smoothing: Probability = 0.0,
) -> FusionModel:
    """CFCML for any number of images, 2D or 3D, and any table.

    Coarse (MG-CIE): tokens of every encoder stage exchange information with the table's. Fine (CCRM): samples and
    prototypes as anchors of three contrastive losses on the embeddings.

    NOTE[DIFF] The table's tokens are FT-Transformer's by default, one a column. Published is a frozen text encoder's
    embedding of a sentence a column: ``tabular_tokenizer={"name": "text", "encoder": "clip"}``, or ``"text"`` for a
    smaller encoder that needs no network. NOTE[DIFF] The deepest map is taken before the encoder's final normalisation,
    as the others; published is behind it for Swin. NOTE[DIFF] Maps are compressed by pooling, and the head has one
    hidden layer: the published convolution has a weight for each position and learns small datasets by heart
    (docs/guide/choosing.md). The recipes of ``derm7pt`` and ``men`` keep the published form.

    Args:
        spec: The data.
        encoder: A registered backbone's name, or timm's.
        weights: ``"none"``, ``"pretrained"``, ``"bundled"`` or a file.
        shared_encoder: One encoder for all images of one shape (published for Derm7pt), or one each (MEN).
        dim: Width of the tokens (D).
        n_heads: Heads of each attention (h).
        n_stages: Encoder stages used, counted from the last.
        image_latents: Tokens of each image and stage (n).
        table_latents: Tokens of the table.
        compression: A registered token compression, or a mapping with its name and options; published is ``"conv"``.
        tabular_tokenizer: A registered tabular tokenizer, or a mapping with its name and options; see
            :mod:`mmfusion.tokenizers.tabular`.
        multigranularity: False takes the last stage alone.
        detach_stages: True lets only the last stage train the encoder (published for Derm7pt).
        enhancement: False leaves the modalities without a view of each other.
        merge: ``"published"`` for as many filters as latents in the granularity merge, ``"single"`` for the one filter
            that they act as.
        token_norm: Bring the tokens of all modalities to one scale before they meet; see
            :class:`~mmfusion.models.FusionModel`.
        hidden: Widths of the head's hidden layers; published are 128 and 16.
        dropout: Probability after each of them.
        sample_weight: Weight of the sample anchors (w_sam); 0 turns them off.
        unimodal_weight: Weight of the unimodal prototypes as anchors (w_up).
        crossmodal_weight: Weight of the crossmodal prototypes as anchors (w_cp).
        temperature: Of the three anchor losses (tau).
        learn_temperature: A parameter for each of them, starting there.
        reduction: ``"published"`` or ``"normalized"``; see :mod:`mmfusion.losses.anchors`.
        eps: Inside the logarithm of the anchor losses; published is 1e-8, 0 is exact.
        prototypes: ``"batch"``, as published, ``"moving"`` or ``"memory"``, or a mapping with the name and options; see
            :mod:`mmfusion.losses.memory`.
        weighting: ``"constant"``, ``"uncertainty"`` or ``"gradnorm"``, or a mapping with the name and options; see
            :mod:`mmfusion.losses.weighting`.
        terms: More losses; see :func:`~mmfusion.models.objectives.build_objective`.
        classification: A registered loss of logits and labels; None: cross-entropy.
        label_smoothing: Of the cross-entropy.

    Returns:
        The model, with its objective.

    Raises:
        ValueError: If an option is out of range, or an anchor loss is asked for without a single target of classes.
    """
    if merge not in ("published", "single"):
        raise ValueError(f"merge must be 'published' or 'single', got {merge!r}")
    n_stages = n_stages if multigranularity else 1
    encoders, routes = image_encoders(spec, encoder=encoder, weights=weights, shared=shared_encoder, n_stages=n_stages)
    tokenizers: dict[str, nn.Module] = {}
    for name in spec.names:
        if name in spec.images:
            detach = range(n_stages - 1) if detach_stages else ()
            tokenizers[name] = Pyramid(
                spec[name], dim=dim, n_latents=image_latents, compression=compression, detach=detach
            )
        else:
            cells = create_tabular_tokenizer(tabular_tokenizer, spec[name], dim=dim)
            tokenizers[name] = Compressed(cells, n_latents=table_latents, compression=compression)
    used_stages = n_stages if spec.images else 1
    latents = {name: image_latents if name in spec.images else table_latents for name in spec.names}
    anchor_options: dict[str, Any] = {
        "temperature": temperature,
        "learn_temperature": learn_temperature,
        "reduction": reduction,
        "eps": eps,
    }
    anchors = {
        "sample": (sample_weight, SampleAnchorLoss(**anchor_options)),
        "unimodal": (unimodal_weight, UnimodalAnchorLoss(**anchor_options)),
        "crossmodal": (crossmodal_weight, CrossmodalAnchorLoss(**anchor_options)),
    }
    if any(weight for weight, _ in anchors.values()):
        _check_target(spec)
    return FusionModel(
        encoders=encoders,
        routes=routes,
        tokenizers=tokenizers,
        per_stage=[
            CrossmodalEnhancement(spec.names, dim=dim, n_heads=n_heads) for _ in range(used_stages) if enhancement
        ],
        readout=GranularityMerge(spec.names, n_filters=latents if merge == "published" else None),
        head=ConcatHead(spec, dim=dim, hidden=hidden, dropout=dropout),
        objective=build_objective(
            spec,
            dim=dim,
            own_terms=anchors,
            terms=terms,
            classification=classification,
            label_smoothing=label_smoothing,
            prototypes=prototypes,
            weighting=weighting,
        ),
        token_norm=token_norm,
    )


@ablations.register("cfcml")
def cfcml_ablations() -> dict[str, dict[str, Any]]:
    """The paper's, and what stands beside the parts that it chose."""
    anchors = ("sample", "unimodal", "crossmodal")
    return {
        "no-multigranularity": {"multigranularity": False},
        "no-enhancement": {"enhancement": False},
        **{f"no-{name}-anchor": {f"{name}_weight": 0.0} for name in anchors},
        "no-anchors": {f"{name}_weight": 0.0 for name in anchors},
        "detached-stages": {"detach_stages": True},
        "attached-stages": {"detach_stages": False},
        "merge-single": {"merge": "single"},
        **{f"tokenizer-{name}": {"tabular_tokenizer": name} for name in tabular_tokenizers.list()},
        **{f"compression-{name}": {"compression": name} for name in compressions.list()},
    }


def _check_target(spec: DataSpec) -> None:
    if len(spec.targets) != 1 or not isinstance(next(iter(spec.targets.values())), Classes):
        raise ValueError(
            f"the anchor losses need a single target of classes, the spec has {dict(spec.targets)}: set sample_weight, "
            "unimodal_weight and crossmodal_weight to 0"
        )
