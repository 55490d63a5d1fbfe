"""Compression by choice: the most salient tokens."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfusion.layers.directions import unit
from mmfusion.options import Count
from mmfusion.registry import compressions
from mmfusion.tokens import Tokens, TokenShape
from mmfusion.utils.precision import full_precision, without_autocast


@compressions.register("topk")
class TopKCompression(nn.Module):
    """The ``n_latents`` tokens that a learned direction scores highest, in their order, each times its gate.

    ``score = x p / |p|``, and a token that is kept becomes ``x * sigmoid(score)`` (graph pooling; Gao and Ji, 2019,
    arXiv 1905.05178, equation 2). The gate is how the gradient reaches p: the choice itself has none.

    Where there are fewer real tokens than latents, the latents behind them are zeros: masking a token is the same as
    leaving it out. Of tokens with one score it is not defined which goes first; the gradient
    is that of those that are kept. A direction of zero scores every token 0 and has no gradient. Half precision is
    scored in float32.

    Args:
        shape: The tokens; only their width matters, any number may come.
        n_latents: Number of tokens that go out.

    Raises:
        ValueError: If ``n_latents`` is not positive.
    """

    def __init__(self, shape: TokenShape, *, n_latents: Count) -> None:
        super().__init__()
        self.n_latents = n_latents
        self.direction = nn.Parameter(torch.empty(shape.dim))
        nn.init.normal_(self.direction)  # every direction alike; its length has no effect

    def forward(self, tokens: Tokens) -> Tensor:
        """Compress.

        Args:
            tokens: Any number of tokens of the width that it was built for; a masked one is never kept.

        Returns:
            Shape ``(b, n_latents, d)``.
        """
        x, n = tokens.filled(), tokens.x.shape[1]
        with without_autocast(x):
            direction = unit(full_precision(self.direction))
            # The tokens of a map are a transposed view of it: this product takes them as they lie.
            score = torch.bmm(direction.expand(x.shape[0], 1, -1), full_precision(x).mT).squeeze(1)
        n_kept = min(self.n_latents, n)
        if tokens.mask is None:
            kept = score.topk(n_kept).indices.sort().values
            gate = score.gather(1, kept).sigmoid()
        else:
            chosen = torch.where(tokens.mask, score, -torch.inf).topk(n_kept).indices
            # Masked ones, chosen for want of others, go behind the real ones and become zeros.
            kept = torch.where(tokens.mask.gather(1, chosen), chosen, n).sort().values
            real, kept = kept < n, kept.clamp(max=n - 1)
            gate = torch.where(real, score.gather(1, kept).sigmoid(), 0.0)
        selected = x.gather(1, kept.unsqueeze(-1).expand(-1, -1, x.shape[2]))
        latents = (selected * gate.unsqueeze(-1)).to(x.dtype)
        return F.pad(latents, (0, 0, 0, self.n_latents - n_kept))
