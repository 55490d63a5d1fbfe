"""Numbers by where they fall among the training rows.

The authors' package, rtdl_num_embeddings, takes the bins when it is built and has as many tensors, and as large ones,
as they ask for: a checkpoint would not load into a fresh module. Here the sizes follow from the options; tests hold
both to the same numbers.
"""

import math

import torch
from torch import Tensor, nn

from mmfusion.options import Count, Width
from mmfusion.registry import tabular_tokenizers
from mmfusion.spec import Columns
from mmfusion.tokenizers.tabular.base import Missing, vectors
from mmfusion.tokenizers.tabular.feature import FeatureTokenizer
from mmfusion.tokenizers.tabular.periodic import projected
from mmfusion.tokens import Table
from mmfusion.utils.precision import as_bits, from_bits


@tabular_tokenizers.register("piecewise_linear")
class PiecewiseLinearTokenizer(FeatureTokenizer):
    """One token per column; a number by the quantiles that it exceeds.

    This is Q-LR of Gorishniy et al., 2022 ("On embeddings for numerical features", arXiv 2203.05556), section 3.2.
    A numerical column j gives ``relu(e[j] @ weight[j] + bias[j])``, with ``e[j]`` its piecewise linear encoding, see
    :func:`piecewise_linear`; a categorical one is embedded as by
    :class:`~mmfusion.tokenizers.FeatureTokenizer`.

    The bins' edges are quantiles of the rows that :meth:`fit` saw; before that, those of a standard normal
    distribution, to which tables are standardized.

    Args:
        columns: The modality.
        dim: Width of the tokens.
        n_bins: Of each column (T in the paper).
        missing: What a missing cell becomes; see :class:`~mmfusion.tokenizers.TabularTokenizer`.

    Raises:
        ValueError: If ``n_bins`` is not positive.
    """

    def __init__(self, columns: Columns, *, dim: Width, n_bins: Count = 32, missing: Missing = "token") -> None:
        self.n_bins = n_bins
        super().__init__(columns, dim=dim, missing=missing)
        self.needs_rows |= bool(columns.numerical)

    def build_numbers(self, n_numerical: int) -> None:
        """Make the parameters for numbers."""
        self.weight = vectors(n_numerical, self.n_bins, self.dim, n_in=self.n_bins)
        normal = torch.special.ndtri(torch.linspace(0.001, 0.999, self.n_bins + 1))
        self.edges = nn.Buffer(as_bits(normal.expand(n_numerical, -1)))

    @torch.no_grad()
    def fit(self, table: Table, labels: Tensor | None = None) -> None:
        """Take the quantiles of training rows; a column without a value in any of them keeps its edges.

        Args:
            table: All training rows.
            labels: Not looked at.

        Raises:
            ValueError: If the table has other columns.
        """
        super().fit(table, labels)
        shares = torch.linspace(0, 1, self.n_bins + 1, dtype=torch.float64)
        for j, values in enumerate(table.numerical.double().cpu().unbind(1)):
            known = values[~values.isnan()]
            if len(known):
                self.edges[j].copy_(as_bits(_quantiles(known, shares).float()))

    def numbers(self, values: Tensor) -> Tensor:
        """Tokens of numerical cells: ``(b, n_num)`` to ``(b, n_num, dim)``."""
        dtype = self.bias.dtype
        encoded = piecewise_linear(values.to(dtype), from_bits(self.edges).to(dtype))
        return projected(encoded, self.weight, self.bias_of_numbers).relu()


def piecewise_linear(values: Tensor, edges: Tensor) -> Tensor:
    """How much of each bin lies below a number (Gorishniy et al., 2022, equation 1).

    Bin t gives 0 below its lower edge, 1 above its upper one, and the share of the bin between them; the first and the
    last go on below 0 and above 1. An edge that occurs several times counts once: the bins between are 0 throughout, as
    if they were not there. At an edge, where the slope changes, the derivative of each bin that meets there is half of
    its slope.

    Args:
        values: Shape ``(b, n)``, finite.
        edges: Shape ``(n, t + 1)``, rising along the second axis.

    Returns:
        Shape ``(b, n, t)``.
    """
    lower, width = edges[:, :-1], edges.diff(dim=1)
    real = width > 0
    order = real.cumsum(1)
    least = torch.where(order == 1, -math.inf, 0.0)
    most = torch.where(order == order[:, -1:], math.inf, 1.0)
    share = (values.unsqueeze(-1) - lower) / torch.where(real, width, 1.0)
    clipped = torch.minimum(torch.maximum(share, least.to(share.dtype)), most.to(share.dtype))
    return torch.where(real, clipped, 0.0)


def _quantiles(values: Tensor, shares: Tensor) -> Tensor:
    """By linear interpolation, as ``torch.quantile``, which refuses more than 16 million values."""
    ordered, place = values.sort().values, shares * (len(values) - 1)
    below = place.floor().long()
    return torch.lerp(ordered[below], ordered[(below + 1).clamp(max=len(values) - 1)], place - below)
