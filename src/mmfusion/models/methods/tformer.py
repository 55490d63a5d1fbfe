"""TFormer: the throughout fusion transformer (Zhang et al., 2023)."""

from collections.abc import Sequence
from typing import Annotated

from mmfusion.models.blueprint import Blueprint, part
from mmfusion.models.registration import method
from mmfusion.options import Among, Depth, Dropout, Expansion, Heads, Length, Range, Uniform
from mmfusion.spec import DataSpec


@method("tformer")
def tformer(
    spec: DataSpec,
    *,
    depths: Annotated[Sequence[Depth], Length(1, 16)] = (1, 1, 2, 1),
    window: Annotated[int, Range(1, 1024), Among(3, 5, 7)] = 7,
    n_heads: Heads = 4,
    expansion: Expansion = 1.0,
    block_dropout: Annotated[Dropout, Uniform(0, 0.5)] = 0.0,
) -> Blueprint:
    """Images fused within windows at every stage, and a table that queries them at the end (arXiv 2211.11393).

    The encoder runs for each image by itself; the fusion is a stream beside it.

    NOTE[DIFF] All stages' tokens are projected to ``dim``, the paper's stream has the encoder's channels; and averages
    instead of neighbours side by side go from stage to stage, so that any encoder will do. NOTE[DIFF] The images of a
    layer see each other as they came in, so that their order has no meaning; in the authors' code the second sees the
    first as it became, and tokens are added twice. NOTE[DIFF] The table queries the positions of the images; in that
    code it queries their averages. NOTE[DIFF] All images and the table's answer go to the head; there it is the
    dermoscopic one and the answer. NOTE[DIFF] In 3D windows are cubes; the paper is 2D.

    Args:
        spec: The data; images of one size, any table.
        depths: Layers of the fusion at each of the last stages of the encoder; in every second one of a stage the
            windows are shifted.
        window: Positions of a window along each axis.
        n_heads: Heads of each attention.
        expansion: Hidden width of the feed-forwards over ``dim``.
        block_dropout: Probability in the feed-forwards.
    """
    block = {"n_heads": n_heads, "expansion": expansion, "dropout": block_dropout}
    return Blueprint(
        encoder=part("convnet", n_stages=len(depths)),
        tokenizer={"image": part("patches", stages="all", positions=False, norm=True), "table": "mlp"},
        pooling=part("throughout", depths=list(depths), window=window, **block),
    )
