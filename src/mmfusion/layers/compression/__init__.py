"""Token compression: many tokens to a fixed, small number of latents.

What a latent is:

- ``conv``: a learned filter over all tokens, as CFCML has it. For one number of tokens; its parameters grow with that.
- ``resampler``: what a learned query finds by attention. Its parameters grow with the channels, not the tokens.
- ``pool``: the mean of a cell of the map, or of a stretch of a sequence. No parameters.
- ``topk``: one of the most salient tokens. As many parameters as channels.

All keep one protocol, and so does a compression of your own:

- A builder is registered by name, here or through an entry point of the group ``mmfusion.layers.compression``. It takes
  what is known of the tokens, a :class:`TokenShape`, and keyword-only options, of which ``n_latents`` is one:
  ``builder(shape, *, n_latents, **options)``.
- It returns a module that maps :class:`~mmfusion.tokens.Tokens` of shape ``(b, n_tokens, dim)`` to a tensor of shape
  ``(b, n_latents, dim)``, also where there are fewer tokens than latents.
- A masked token has no effect on any latent, whatever it holds, and a case whose tokens are all masked gets something
  finite. There is no mask of latents: one without content is zeros.

For example::

    from mmfusion.layers.compression import TokenShape
    from mmfusion.pooling import masked_mean
    from mmfusion.registry import compressions
    from mmfusion.tokens import Tokens
    from torch import Tensor, nn

    @compressions.register("mean")
    class Mean(nn.Module):
        def __init__(self, shape: TokenShape, *, n_latents: int, scale: float = 1.0) -> None:
            super().__init__()
            self.n_latents, self.scale = n_latents, scale

        def forward(self, tokens: Tokens) -> Tensor:
            return self.scale * masked_mean(tokens).unsqueeze(1).expand(-1, self.n_latents, -1)

Wherever a compression is chosen, ``"mean"`` or ``{"name": "mean", "scale": 2.0}`` will do then.
"""

from mmfusion.layers.compression.base import create_compression
from mmfusion.layers.compression.conv import ConvCompression
from mmfusion.layers.compression.pool import PoolCompression
from mmfusion.layers.compression.resampler import GridPosition, Resampler
from mmfusion.layers.compression.topk import TopKCompression
from mmfusion.tokens import TokenShape

__all__ = [
    "ConvCompression",
    "GridPosition",
    "PoolCompression",
    "Resampler",
    "TokenShape",
    "TopKCompression",
    "create_compression",
]
