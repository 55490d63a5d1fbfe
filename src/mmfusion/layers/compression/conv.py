"""CFCML's compression: a convolution whose channel axis is the token axis."""

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from mmfusion.layers.compression.base import check_n_tokens
from mmfusion.options import Count, Range
from mmfusion.registry import compressions
from mmfusion.tokens import Tokens, TokenShape


class ConvCompression(nn.Module):
    """CFCML's token compression: a 1D convolution whose channel axis is the token axis.

    ``y[o, l] = bias[o] + sum_t sum_j weight[o, t, j] x[t, l + j - 1]``: each latent is a free mixture of all tokens,
    with a narrow filter that slides over the feature index (CFCML, arXiv 2603.20016, MG-CIE, token compression).

    It is computed as one matrix product over the token axis and a shifted sum over the features, not as a
    convolution: the same numbers, without transposing a feature map that is stored channel by channel.

    Args:
        n_tokens: Number of tokens that come in; fixed, so a model learns it from a dry run.
        n_latents: Number of tokens that go out.
        kernel_size: Width of the filter over the feature index; odd.

    Raises:
        ValueError: If a size is not positive or the kernel is even.
    """

    def __init__(self, n_tokens: int, *, n_latents: int, kernel_size: int = 3) -> None:
        super().__init__()
        if n_tokens < 1 or n_latents < 1:
            raise ValueError(f"token counts must be positive, got {n_tokens=} and {n_latents=}")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and positive, got {kernel_size=}")
        self.n_latents = n_latents
        self.weight = nn.Parameter(torch.empty(n_latents, n_tokens, kernel_size))
        self.bias = nn.Parameter(torch.empty(n_latents))
        # As nn.Conv1d, which the published code uses.
        bound = 1 / math.sqrt(n_tokens * kernel_size)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, tokens: Tokens) -> Tensor:
        """Compress.

        Args:
            tokens: ``n_tokens`` tokens of any width; a masked one counts as zeros.

        Returns:
            Shape ``(b, n_latents, d)``.

        Raises:
            ValueError: If the number of tokens is another.
        """
        return _mixed(tokens.filled(), self.weight, self.bias)

    def mean(self, tokens: Tokens) -> Tensor:
        """The mean of the latents, ``forward(tokens).mean(1)``, at the cost of a single one.

        The mean of linear filters is the filter of the means: averaging the weights first gives the same numbers and
        the same gradients.

        Args:
            tokens: ``n_tokens`` tokens of any width; a masked one counts as zeros.

        Returns:
            Shape ``(b, d)``.

        Raises:
            ValueError: If the number of tokens is another.
        """
        weight, bias = self.weight.mean(0, keepdim=True), self.bias.mean(0, keepdim=True)
        return _mixed(tokens.filled(), weight, bias).squeeze(1)


@compressions.register("conv")
def conv(shape: TokenShape, *, n_latents: Count, kernel_size: Annotated[int, Range(1, 255)] = 3) -> ConvCompression:
    """A :class:`ConvCompression` for tokens of that shape."""
    return ConvCompression(shape.n_tokens, n_latents=n_latents, kernel_size=kernel_size)


def _mixed(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """From ``(b, n_tokens, d)`` to ``(b, n_latents, d)``; the weight is ``(n_latents, n_tokens, kernel_size)``."""
    _, n_tokens, kernel_size = weight.shape
    check_n_tokens(x.shape[1], n_tokens)
    products = rearrange(x, "b t d -> b d t") @ rearrange(weight, "latents t taps -> t (taps latents)")
    taps = rearrange(products, "b d (taps latents) -> b d taps latents", taps=kernel_size)
    half, width = kernel_size // 2, x.shape[2]
    padded = F.pad(taps, (0, 0, 0, 0, half, half))
    summed = sum((padded[:, j : j + width, j] for j in range(1, kernel_size)), start=padded[:, :width, 0])
    return (summed + bias).transpose(1, 2)
