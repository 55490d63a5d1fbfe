"""RoVTL's gated cross-attention (Hasny et al., 2025)."""

from typing import Annotated

from mmfusion.models.blueprint import Blueprint, part
from mmfusion.models.registration import method
from mmfusion.options import Among, Depth, Dropout, Expansion, Heads, Uniform
from mmfusion.spec import DataSpec


@method("gated_query", tabular_tokenizer="feature")
def gated_query(
    spec: DataSpec,
    *,
    depth: Annotated[Depth, Among(1, 2, 4, 6)] = 4,
    table_depth: Depth = 2,
    n_heads: Heads = 4,
    expansion: Expansion = 4.0,
    block_dropout: Annotated[Dropout, Uniform(0, 0.5)] = 0.0,
) -> Blueprint:
    """Images that query a table as much as the table's gate lets through (arXiv 2512.19602).

    In 4 layers an image's tokens attend to each other and to the known cells of the table, whose [CLS] sets a gate a
    layer; where the table is missing, or all of its cells are, the gate is exactly 0 and the image is on its own.
    Several tables are queried one after the other. The outputs come from the images' tokens alone: a case without an
    image is predicted from nothing.

    NOTE[DIFF] This is the paper's fusion, without its training: the contrastive pretraining, the loss that ranks more
    against fewer cells, and the unimodal heads whose gradients are kept apart. NOTE[DIFF] The table's encoder is a
    transformer of its own instead of the pretrained TARTE. NOTE[DIFF] The tokens of a map get vectors of their
    position. NOTE[DIFF] Gates have GELU instead of ReLU, and the classifier a hidden layer, as all models here.

    Args:
        spec: The data; at least one image and one table.
        depth: Layers in which the images query.
        table_depth: Layers of self-attention among a table's tokens, without which its [CLS] would know no cell; at
            least 1.
        n_heads: Heads of each attention.
        expansion: Hidden width of the feed-forwards over ``dim``.
        block_dropout: Probability in the feed-forwards and the gates.

    Raises:
        ValueError: If the spec has no image or no table.
    """
    if not spec.images or not spec.tables:
        raise ValueError(f"it needs an image modality and a table, the spec has {spec.names}")
    block = {"n_heads": n_heads, "expansion": expansion, "dropout": block_dropout}
    return Blueprint(
        tokenizer={"image": "patches", "table": part("known_cells", of="feature", depth=table_depth, **block)},
        tokens={"layers": [part("gated_query", sources="tables", depth=depth, **block)]},
        pooling=part("first", of="tables"),
        vectors=part("concat", of="images"),
    )
