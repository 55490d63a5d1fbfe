"""Small map fusions for tests: built for a few channels, with random weights in double precision."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmfusion.fusion.maps import MMTM, Daft, Film, HyperConv, MapFusion, MapSites, MetaBlock, MetaNet, Mul
from mmfusion.tokens import Tokens

D = 3  # features of the context
CHANNELS = {0: 2, 1: 3, 2: 4}
SIZES = {2: (2, 3), 3: (2, 1, 3)}

Make = Callable[[MapSites], MapFusion]
EVERY: dict[str, Make] = {
    "mul": lambda sites: Mul(sites),
    "film": lambda sites: Film(sites),
    "film, hidden": lambda sites: Film(sites, hidden=(7,), bias=False, offset=0.0),
    "film, norm": lambda sites: Film(sites, norm=True),
    "daft": lambda sites: Daft(sites, at=None, reduction=1.0),
    "daft, tanh": lambda sites: Daft(sites, at=None, reduction=1.0, activation="tanh", offset=1.0),
    "hyperfusion": lambda sites: HyperConv(sites, at=None, dim=2),
    "metablock": lambda sites: MetaBlock(sites, at=None),
    "metanet": lambda sites: MetaNet(sites, at=None, hidden=5),
    "mmtm": lambda sites: MMTM(sites, at=None),
}
CONDITIONED = [name for name in EVERY if name != "mmtm"]


def maps_of(point: int, names: Mapping[str, str] | list[str], b: int = 2, n_axes: int = 2, seed: int = 0) -> Any:
    g = torch.Generator().manual_seed(seed)
    return {name: torch.randn(b, CHANNELS[point], *SIZES[n_axes], generator=g, dtype=torch.float64) for name in names}


def context_of(b: int = 2, d: int = D, seed: int = 1, mask: Tensor | None = None) -> Tokens:
    g = torch.Generator().manual_seed(seed)
    return Tokens(torch.randn(b, 1, d, generator=g, dtype=torch.float64), None if mask is None else mask.view(-1, 1))


def sites_of(routes: Mapping[str, str], *, d: int = D, n_axes: int = 2, mean_square: float = 1.0) -> MapSites:
    """Every image with the same channels at each point."""
    shapes = {name: [(c, *SIZES[n_axes]) for c in CHANNELS.values()] for name in routes}
    return MapSites(routes, shapes, d_context=d, mean_square=mean_square)


def built(make: Make, routes: Mapping[str, str], *, d: int = D, n_axes: int = 2) -> Any:
    """In evaluation mode and double precision; every parameter and batch statistic is random."""
    block = make(sites_of(routes, d=d, n_axes=n_axes)).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    for buffer in block.buffers():
        if buffer.is_floating_point():
            nn.init.uniform_(buffer, 0.5, 2.0)
    return block.eval()


def linear(layer: Any, x: list[float]) -> list[float]:
    """A linear layer by scalars."""
    weight, bias = layer.weight.tolist(), [0.0] * len(layer.weight) if layer.bias is None else layer.bias.tolist()
    return [b + sum(w * v for w, v in zip(row, x, strict=True)) for row, b in zip(weight, bias, strict=True)]


def relu(x: list[float]) -> list[float]:
    return [max(0.0, v) for v in x]


def elementwise(x: Tensor, function: Callable[[int, int, float], float]) -> Tensor:
    """A new map from ``(case, channel, value)``, one value at a time."""
    out = torch.empty_like(x)
    flat, made = x.flatten(2), out.view(*x.shape[:2], -1)
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            for position in range(flat.shape[2]):
                made[i, c, position] = function(i, c, float(flat[i, c, position]))
    return out


def mean(values: list[float]) -> float:
    return sum(values) / len(values)
