"""Linear layers of losses, in float32 or float64."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Layers(nn.Module):
    """One or two linear layers of a loss, computed in float32 or float64 whatever their own dtype is.

    Args:
        n_in: Width that goes in.
        n_out: Width that comes out.
        hidden: Width of a hidden layer with ReLU; None for a single layer.
    """

    def __init__(self, n_in: int, n_out: int, *, hidden: int | None = None) -> None:
        super().__init__()
        self.hidden = None if hidden is None else nn.Linear(n_in, hidden)
        self.out = nn.Linear(n_in if hidden is None else hidden, n_out)

    def forward(self, x: Tensor) -> Tensor:
        """From ``(..., n_in)``, in float32 or float64, to ``(..., n_out)``."""
        if self.hidden is not None:
            x = _linear(x, self.hidden).relu()
        return _linear(x, self.out)


def check_width(embeddings: Tensor, dim: int) -> None:
    """Raise an error for embeddings of another width than a loss was built for.

    Raises:
        ValueError: With both.
    """
    if embeddings.shape[-1] != dim:
        raise ValueError(f"this loss was built for embeddings of width {dim}, got {embeddings.shape[-1]}: fix its dim")


def _linear(x: Tensor, layer: nn.Linear) -> Tensor:
    dtype = torch.promote_types(x.dtype, layer.weight.dtype)
    return F.linear(x.to(dtype), layer.weight.to(dtype), layer.bias.to(dtype))
