"""Mamba layer, and its scan over tokens without an order."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfusion.layers.selective_scan import selective_scan

# What the step sizes start between (Mamba, arXiv 2312.00752, section 3.6).
_STEP_SIZES = (1e-3, 1e-1)


class Mamba(nn.Module):
    """A sequence layer around the selective scan (Mamba, arXiv 2312.00752, section 3.4 and figure 3).

    ``[u, z] = in_proj(x)``; ``u = silu(conv1d(u))``, each channel with its own causal filter; ``[r, B, C] =
    x_proj(u)``; ``delta = softplus(dt_proj(r))``; the scan of ``u``, gated by ``silu(z)``; ``out_proj``. No
    normalization and no shortcut.

    Parameters have the names, shapes and first values of mamba_ssm's ``Mamba``, so state dicts pass both ways.

    Args:
        dim: Width of the tokens.
        state: States a channel (N).
        conv: Width of the causal filter, in tokens.
        expand: Inner channels over ``dim`` (E).
        dt_rank: Rank of the step sizes; ``"auto"`` is ``dim / 16``, rounded up.
        kernel: As :func:`~mmfusion.layers.selective_scan.selective_scan` takes it.

    Raises:
        ValueError: If a size is not positive.
    """

    def __init__(
        self,
        dim: int,
        *,
        state: int = 16,
        conv: int = 4,
        expand: int = 2,
        dt_rank: int | Literal["auto"] = "auto",
        kernel: str = "auto",
    ) -> None:
        super().__init__()
        rank = math.ceil(dim / 16) if dt_rank == "auto" else dt_rank
        if min(dim, state, conv, expand, rank) < 1:
            raise ValueError(f"sizes must be positive, got {dim=}, {state=}, {conv=}, {expand=} and {dt_rank=}")
        inner = expand * dim
        self.kernel = kernel
        self.in_proj = nn.Linear(dim, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, conv, groups=inner, padding=conv - 1)
        self.x_proj = nn.Linear(inner, rank + 2 * state, bias=False)
        self.dt_proj = nn.Linear(rank, inner)
        self.A_log = nn.Parameter(torch.arange(1.0, state + 1).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, dim, bias=False)
        nn.init.uniform_(self.dt_proj.weight, -(rank**-0.5), rank**-0.5)
        low, high = (math.log(step) for step in _STEP_SIZES)
        steps = torch.empty(inner).uniform_(low, high).exp()
        with torch.no_grad():
            self.dt_proj.bias.copy_(steps + torch.log(-torch.expm1(-steps)))  # softplus gives the step back

    def forward(self, tokens: Tensor) -> Tensor:
        """Mix along the tokens; a token sees itself and those before it.

        Args:
            tokens: Shape ``(b, n, dim)``.

        Returns:
            The same shape.

        Raises:
            ValueError: If the shape is another.
        """
        dim, n_states = self.in_proj.in_features, self.A_log.shape[1]
        if tokens.ndim != 3 or tokens.shape[2] != dim or tokens.shape[1] < 1:
            raise ValueError(f"tokens must be (b, n, {dim}), n at least 1, got {tuple(tokens.shape)}")
        # Channels before tokens throughout, as the convolution and the scan want them: nothing is transposed.
        x = tokens.transpose(1, 2)
        u, z = (_mapped(half, x) for half in self.in_proj.weight.chunk(2))
        u = F.silu(self.conv1d(u)[:, :, : tokens.shape[1]])
        r, B, C = torch.split(_mapped(self.x_proj.weight, u), [self.dt_proj.in_features, n_states, n_states], dim=1)
        y = selective_scan(
            u,
            _mapped(self.dt_proj.weight, r),
            -torch.exp(self.A_log),
            B,
            C,
            self.D,
            z,
            # In the scan, which adds it in full precision.
            delta_bias=self.dt_proj.bias,
            delta_softplus=True,
            kernel=self.kernel,
        )
        return _mapped(self.out_proj.weight, y).transpose(1, 2)


def _mapped(weight: Tensor, x: Tensor) -> Tensor:
    """A linear map of the channels: ``(b, d_in, n)`` to ``(b, d_out, n)``; the weight is ``(d_out, d_in)``."""
    return torch.bmm(weight.expand(x.shape[0], -1, -1), x)


def flipped_mamba(mamba: nn.Module, tokens: Tensor) -> Tensor:
    """The mean of a layer over four flips of its tokens, as one batch (CFCML's public code).

    The tokens as they are, with the channels reversed, with the order reversed, and with both; each result is
    flipped back.

    Args:
        mamba: From ``(b, n, d)`` to the same shape; any layer whose cases do not see each other.
        tokens: Shape ``(b, n, d)``.

    Returns:
        Shape ``(b, n, d)``.
    """
    x = tokens.transpose(1, 2)  # the layout of a map
    flips = ((), (1,), (2,), (1, 2))
    together: Tensor = mamba(torch.cat([x.flip(axes) for axes in flips]).transpose(1, 2))
    results = together.transpose(1, 2).view(len(flips), *x.shape)
    back = [result.flip(axes) for result, axes in zip(results.unbind(0), flips, strict=True)]
    return (sum(back[1:], start=back[0]) / len(flips)).transpose(1, 2)
