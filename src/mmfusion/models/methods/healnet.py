"""HEALNet: the hybrid early-fusion attention learning network (Hemker et al., 2024)."""

from typing import Annotated

from mmfusion.models.blueprint import Blueprint, part
from mmfusion.models.registration import method
from mmfusion.options import Among, Count, Depth, Dropout, Expansion, Heads
from mmfusion.spec import DataSpec


@method("healnet", tabular_tokenizer="feature")
def healnet(
    spec: DataSpec,
    *,
    n_latents: Annotated[Count, Among(32, 64, 128, 256)] = 128,
    depth: Annotated[Depth, Among(1, 2, 3, 4)] = 3,
    n_heads: Heads = 4,
    expansion: Expansion = 4.0,
    block_dropout: Dropout = 0.0,
    self_attention: bool = False,
    share_layers: bool = False,
) -> Blueprint:
    """Latents that collect what each modality has, in turn, layer after layer (arXiv 2311.09115).

    The outputs come from the mean of the latents, normalized. A modality that a case lacks is skipped, and nothing else
    changes.

    The embeddings, for losses on modalities, are the means of their tokens as they came in; that of the latents is in
    ``aux["latents"]``.

    NOTE[DIFF] No self-attention among the latents unless ``self_attention`` asks for it; the public code has a block of
    it after each layer by default. The paper's update is by cross-attention alone, and the blocks cost a third more.
    NOTE[DIFF] The latents see an encoder's last map, not pixels. NOTE[DIFF] Feed-forwards have GELU; the public code's
    are gated, with SELU, its attention ends in a leaky ReLU and its softmax has the temperature 0.5.
    NOTE[DIFF] Several heads; the public code's default is one. NOTE[DIFF] The classifier has a hidden layer, as all
    models here; ``hidden=()`` is the paper's.

    Args:
        spec: The data.
        n_latents: Number of latents.
        depth: Layers.
        n_heads: Heads of each attention.
        expansion: Hidden width of the feed-forwards over ``dim``.
        block_dropout: Probability in the feed-forwards.
        self_attention: A transformer block over the latents after each layer, as in the public code by default.
        share_layers: All layers have the same weights.
    """
    block = {"depth": depth, "n_heads": n_heads, "expansion": expansion, "dropout": block_dropout}
    latent = part("latent", n_latents=n_latents, self_attention=self_attention, share_layers=share_layers, **block)
    return Blueprint(
        tokenizer={"image": "patches", "table": "feature"},
        tokens={"layers": [latent]},
        vectors=part("single", of="latents"),
        head=part("mlp", norm=True),
    )
