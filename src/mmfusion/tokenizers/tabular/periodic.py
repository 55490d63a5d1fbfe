"""Numbers by sines and cosines."""

import math

import torch
from torch import Tensor, nn

from mmfusion.options import Count, Positive, Width
from mmfusion.registry import tabular_tokenizers
from mmfusion.spec import Columns
from mmfusion.tokenizers.tabular.base import Missing, vectors
from mmfusion.tokenizers.tabular.feature import FeatureTokenizer


@tabular_tokenizers.register("periodic")
class PeriodicTokenizer(FeatureTokenizer):
    """One token per column; a number by sines and cosines of learned frequencies.

    This is PLR of Gorishniy et al., 2022 ("On embeddings for numerical features", arXiv 2203.05556), section 3.3.
    A numerical column j gives ``relu(v[j] @ weight[j] + bias[j])`` with ``v[j] = [cos(2 pi c[j] x[j]), sin(2 pi c[j]
    x[j])]`` and frequencies ``c[j]`` drawn from a normal distribution of deviation ``scale``; a categorical one is
    embedded as by :class:`~mmfusion.tokenizers.FeatureTokenizer`.

    Args:
        columns: The modality.
        dim: Width of the tokens.
        n_frequencies: Of each column (k in the paper).
        scale: Deviation of the frequencies at the start (sigma in the paper, where it is tuned between 0.01 and 100);
            the larger, the faster the token changes along the column.
        missing: What a missing cell becomes; see :class:`~mmfusion.tokenizers.TabularTokenizer`.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        columns: Columns,
        *,
        dim: Width,
        n_frequencies: Count = 48,
        scale: Positive = 0.01,
        missing: Missing = "token",
    ) -> None:
        self.n_frequencies = n_frequencies
        self.scale = scale
        super().__init__(columns, dim=dim, missing=missing)

    def build_numbers(self, n_numerical: int) -> None:
        """Make the parameters for numbers."""
        self.frequencies = nn.Parameter(torch.randn(n_numerical, self.n_frequencies) * self.scale)
        n_in = 2 * self.n_frequencies
        self.weight = vectors(n_numerical, n_in, self.dim, n_in=n_in)

    def numbers(self, values: Tensor) -> Tensor:
        """Tokens of numerical cells: ``(b, n_num)`` to ``(b, n_num, dim)``."""
        angles = 2 * math.pi * self.frequencies * values.to(self.bias.dtype).unsqueeze(-1)
        waves = torch.cat([angles.cos(), angles.sin()], -1)
        return projected(waves, self.weight, self.bias_of_numbers).relu()


def projected(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear map for each column: ``(b, n, d_in)``, ``(n, d_in, d)`` and ``(n, d)`` to ``(b, n, d)``."""
    return (x.transpose(0, 1) @ weight).transpose(0, 1) + bias
