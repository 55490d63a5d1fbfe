"""CFCML: coarse-to-fine crossmodal learning (arXiv 2603.20016)."""

from typing import Annotated, Any

from mmfusion.losses.anchor_loss import Reduction
from mmfusion.models.blueprint import Blueprint, part
from mmfusion.models.registration import method
from mmfusion.options import Among, Count, Heads, LogUniform, LossWeight, OneOf, Range, Stages, TemperatureValue
from mmfusion.registry import Choice, ablations, compressions, tabular_tokenizers
from mmfusion.spec import DataSpec


@method("cfcml", tabular_tokenizer="feature")
def cfcml(
    spec: DataSpec,
    *,
    n_heads: Heads = 4,
    n_stages: Stages = 4,
    image_latents: Annotated[Count, Among(8, 16, 32, 64)] = 32,
    table_latents: Count = 24,
    compression: Choice = "pool",
    multigranularity: bool = True,
    detach_stages: bool = False,
    enhancement: bool = True,
    merge: Annotated[str, OneOf(("published", "single"))] = "published",
    sample_weight: LossWeight = 0.04,
    unimodal_weight: LossWeight = 0.06,
    crossmodal_weight: Annotated[LossWeight, LogUniform(0.02, 2)] = 0.18,
    temperature: TemperatureValue = 0.07,
    learn_temperature: bool = False,
    reduction: Reduction = "normalized",
    eps: Annotated[float, Range(0, 1)] = 0.0,
    prototypes: Choice = "batch",
    weighting: Choice = "constant",
) -> Blueprint:
    """CFCML for any number of images, 2D or 3D, and any table.

    Coarse (MG-CIE): tokens of every encoder stage exchange information with the table's. Fine (CCRM): samples and
    prototypes as anchors of three contrastive losses on the embeddings.

    NOTE[DIFF] The table's tokens are FT-Transformer's by default, one per column. Published is a frozen text encoder's
    embedding of one sentence per column: ``tabular_tokenizer={"name": "text", "encoder": "clip"}``, or ``"text"`` for a
    smaller encoder that needs no network. NOTE[DIFF] The deepest map is taken before the encoder's final normalization,
    as the others; published is behind it for Swin. NOTE[DIFF] Maps are compressed by pooling, and the head has one
    hidden layer: the published convolution has a weight for each position and learns small datasets by heart
    (docs/guide/choosing.md). The recipes of ``derm7pt`` and ``men`` keep the published form.

    Args:
        spec: The data.
        n_heads: Heads of each attention (h).
        n_stages: Encoder stages used, counted from the last.
        image_latents: Tokens of each image and stage (n).
        table_latents: Tokens of the table.
        compression: A registered token compression, or a mapping with its name and options; published is ``"conv"``.
        multigranularity: False takes the last stage alone.
        detach_stages: True lets only the last stage train the encoder (published for Derm7pt).
        enhancement: False leaves the modalities without a view of each other.
        merge: ``"published"`` for as many filters as latents in the granularity merge, ``"single"`` for the one filter
            that they act as.
        sample_weight: Weight of the sample anchors (w_sam); 0 turns them off.
        unimodal_weight: Weight of the unimodal prototypes as anchors (w_up).
        crossmodal_weight: Weight of the crossmodal prototypes as anchors (w_cp).
        temperature: Of the three anchor losses (tau).
        learn_temperature: A parameter for each of them, starting there.
        reduction: ``"published"`` or ``"normalized"``; see :mod:`mmfusion.losses.anchor_loss`.
        eps: Inside the logarithm of the anchor losses; published is 1e-8, 0 is exact.
        prototypes: ``"batch"``, as published, ``"moving"`` or ``"memory"``, or a mapping with the name and options; see
            :mod:`mmfusion.losses.memory`.
        weighting: ``"constant"``, ``"uncertainty"`` or ``"gradnorm"``, or a mapping with the name and options; see
            :mod:`mmfusion.losses.weighting`.

    Raises:
        ValueError: If an anchor loss is asked for without a single target of classes.
    """
    weights = {"sample": sample_weight, "unimodal": unimodal_weight, "crossmodal": crossmodal_weight}
    if any(weights.values()) and spec.n_classes is None:
        raise ValueError(
            f"the anchor losses need a single target of classes, the spec has {dict(spec.targets)}: set sample_weight, "
            "unimodal_weight and crossmodal_weight to 0"
        )
    n_stages = n_stages if multigranularity else 1
    detach = list(range(n_stages - 1)) if detach_stages else []
    anchor = {"temperature": temperature, "learn_temperature": learn_temperature, "reduction": reduction, "eps": eps}
    return Blueprint(
        encoder=part("convnet", n_stages=n_stages),
        tokenizer={
            "image": part("pyramid", n_latents=image_latents, compression=compression, detach=detach),
            "table": part("compressed", of="feature", n_latents=table_latents, compression=compression),
        },
        tokens={"per_stage": [part("crossmodal_enhancement", n_heads=n_heads)] if enhancement else []},
        pooling=part(
            "granularity_merge",
            n_filters={"images": image_latents, "tables": table_latents} if merge == "published" else {},
        ),
        loss={
            "terms": {name: {"term": f"{name}_anchor", "weight": weight, **anchor} for name, weight in weights.items()},
            "prototypes": prototypes,
            "weighting": weighting,
        },
    )


@ablations.register("cfcml")
def cfcml_ablations() -> dict[str, dict[str, Any]]:
    """The paper's, and alternatives to the parts that it chose."""
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
