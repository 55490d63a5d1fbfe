"""TIP: tabular-image pre-training (Du et al., 2024)."""

from typing import Annotated

from mmfusion.models.blueprint import Blueprint, part
from mmfusion.models.registration import method
from mmfusion.options import Among, Depth, Dropout, Expansion, Heads, Range, TemperatureValue, Uniform, Width
from mmfusion.spec import DataSpec


@method("tip", tabular_tokenizer=None)
def tip(
    spec: DataSpec,
    *,
    table_depth: Depth = 4,
    joint_depth: Annotated[Depth, Among(1, 2, 4, 6)] = 4,
    n_heads: Heads = 4,
    expansion: Expansion = 4.0,
    block_dropout: Annotated[Dropout, Uniform(0, 0.5)] = 0.0,
    pretrain: bool = False,
    mask_rate: Annotated[float, Range(0, 1, above=True)] = 0.3,
    temperature: TemperatureValue = 0.1,
    projection: Width = 128,
) -> Blueprint:
    """A table that fills its own gaps and queries the images; pretrained without labels on request (arXiv 2407.07582).

    The outputs are the mean of those of three classifiers: of the image, of the table's [CLS], and of the [CLS] after
    the table queried the images. Several images have a classifier each, and are queried together; a classifier whose
    modality a case lacks does not count.

    With ``pretrain`` there are two phases, ``"pretrain"`` and ``"finetune"``; see
    :class:`~mmfusion.models.pretraining.TipPretraining`. ``train.phase_epochs.pretrain`` sets its epochs.

    NOTE[DIFF] The image's classifier works on its projected tokens' mean, of the width of the others; the paper's on
    the encoder's own channels. NOTE[DIFF] ``dim`` is 128; the paper's 512 with 8 heads and a ResNet-50.
    NOTE[DIFF] Classifiers have a hidden layer, as all models here; ``hidden=()`` is the paper's.

    Args:
        spec: The data; at least one image and exactly one table.
        table_depth: Layers of self-attention among the table's tokens, without which its [CLS] would know no cell; at
            least 1.
        joint_depth: Layers in which the table queries the images.
        n_heads: Heads of each attention.
        expansion: Hidden width of the feed-forwards over ``dim``.
        block_dropout: Probability in the feed-forwards.
        pretrain: Add the phase of pretraining.
        mask_rate: Share of the columns hidden in it, above 0 and at most 1.
        temperature: Of its contrast (tau).
        projection: Width of what it contrasts.

    Raises:
        ValueError: If the spec has no image or not exactly one table.
    """
    if not spec.images or len(spec.tables) != 1:
        raise ValueError(f"it needs an image modality and exactly one table, the spec has {spec.names}")
    block = {"n_heads": n_heads, "expansion": expansion, "dropout": block_dropout}
    pretraining = part("tip", projection=projection, temperature=temperature, mask_rate=mask_rate)
    return Blueprint(
        tokenizer={
            "image": part("patches", positions=False, norm=True),
            "table": part("tip", depth=table_depth, **block),
        },
        tokens={"layers": [part("query", queries="tables", depth=joint_depth, **block)]},
        pooling=part("first", of=["tables", "joint"]),
        decision=part("mean", of=["*", "joint"]),
        pretraining=pretraining if pretrain else None,
    )
