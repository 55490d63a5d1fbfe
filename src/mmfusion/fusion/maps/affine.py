"""Channels scaled and shifted by what the table says."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfusion.fusion.maps.map_fusion import ConditionedMapFusion, MapSites, at_point, layer_per_site, like_map
from mmfusion.layers.presence import where_present
from mmfusion.options import Finite, OneOf, Reduction, StageIndex, Width, Widths
from mmfusion.registry import map_fusions

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda scale: scale,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


def scaled(x: Tensor, scale: Tensor, shift: Tensor | None, mask: Tensor | None) -> Tensor:
    """Each channel times its scale, plus its shift.

    Args:
        x: Shape ``(b, c, *spatial)``.
        scale: Shape ``(b, c)``.
        shift: Shape ``(b, c)``; None: none.
        mask: Shape ``(b,)``, bool; a case where it is False comes out as it was. None: all are True.

    Returns:
        As ``x``.
    """
    x = x * like_map(where_present(scale, mask, 1.0), x)
    return x if shift is None else x + like_map(where_present(shift, mask, 0.0), x)


@map_fusions.register("mul")
class Mul(ConditionedMapFusion):
    """Maps times one vector of channels a point (Duanmu et al., 2020, interactive fusion).

    The table goes through a hidden layer to a vector for the first point, and from each point's vector a linear layer
    leads to the next one's: ``v[0] = B relu(A t)``, ``v[i + 1] = C[i] v[i]``, ``map[i] * v[i]``.

    NOTE[DIFF] The biases of the vectors start at 1: vectors around 0 would wipe out the maps of pretrained weights.

    Args:
        sites: The images' maps.
        at: The points where it acts; None for before each stage and behind the last, as published.
        hidden: Width of the hidden layer.
    """

    def __init__(self, sites: MapSites, *, at: Sequence[StageIndex] | None = None, hidden: Width = 8) -> None:
        super().__init__(sites, at=at)
        self.first, self.onward = nn.ModuleDict(), nn.ModuleDict()
        for route, widths in self.channels.items():
            start, *_ = widths.values()
            self.first[route] = nn.Sequential(nn.Linear(self.d_context, hidden), nn.ReLU(), _around_one(hidden, start))
            self.onward[route] = nn.ModuleDict(
                {str(point): _around_one(widths[before], widths[point]) for before, point in pairwise(widths)}
            )

    def read(self, route: str, stage: int, features: Tensor, mask: Tensor | None) -> Tensor:
        """The vector of a point, shape ``(b, c)``."""
        vector: Tensor = self.first[route](features)
        for point, layer in cast("nn.ModuleDict", self.onward[route]).items():
            if int(point) <= stage:
                vector = layer(vector)
        return vector

    def act(self, x: Tensor, read: Tensor, mask: Tensor | None) -> Tensor:
        """The map times the vector."""
        return scaled(x, read, None, mask)


def _around_one(n_in: int, n_out: int) -> nn.Linear:
    layer = nn.Linear(n_in, n_out)
    nn.init.ones_(layer.bias)
    return layer


@map_fusions.register("film")
class Film(ConditionedMapFusion):
    """``(offset + gamma) * map + beta``, where gamma and beta are a function of the table (Perez et al., 2018, eq. 2).

    NOTE[DIFF] The paper puts it inside its own residual blocks, behind a normalization without affine parameters and
    before the ReLU. Here it stands between the stages of any encoder, where a normalization would take the scales of
    pretrained maps from the stage that expects them, so it is an option: ``norm=True`` normalizes over the channels and
    positions of each case, not over the batch, and puts a ReLU behind. The offset of 1 is that of the authors' code.

    Args:
        sites: The images' maps.
        at: The points where it acts; None for all.
        hidden: Widths of hidden layers with ReLU between the table and gamma and beta; empty for a linear map.
        bias: Whether these layers have one.
        offset: Added to gamma. With 0 and small weights, maps start near 0.
        norm: Normalize before and rectify behind.
    """

    def __init__(
        self,
        sites: MapSites,
        *,
        at: Sequence[StageIndex] | None = None,
        hidden: Widths = (),
        bias: bool = True,
        offset: Finite = 1.0,
        norm: bool = False,
    ) -> None:
        super().__init__(sites, at=at)
        self.offset = offset
        self.norm = norm
        self.generate = layer_per_site(self.channels, lambda c: _layers((self.d_context, *hidden, 2 * c), bias))

    def read(self, route: str, stage: int, features: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Scale and shift of a point, each ``(b, c)``."""
        gamma, beta = at_point(self.generate, route, stage)(features).chunk(2, 1)
        return self.offset + gamma, beta

    def act(self, x: Tensor, read: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """The map, scaled and shifted."""
        if not self.norm:
            return scaled(x, *read, mask)
        modulated = F.relu(scaled(F.group_norm(x, 1), *read, None))
        return where_present(modulated, mask, x)


@map_fusions.register("daft")
class Daft(ConditionedMapFusion):
    """``(offset + scale) * map + shift``, both a function of the map's means and the table (Poelsterl et al., 2021).

    ``[scale; shift] = W2 relu(W1 [mean(map); t])`` without biases, and an activation on the scale. The mean is over the
    positions alone, so a batch of 1 is as any other.

    NOTE[DIFF] The hidden layer's width is a share of its input's, by the paper's ratio r; the authors' code gives it 7
    features, whatever the input.

    Args:
        sites: The images' maps.
        at: The points where it acts; published is one, the last block's input.
        reduction: Width of ``[mean(map); t]`` over that of the hidden layer (r), which is rounded down, 1 at least.
        activation: ``"linear"``, ``"tanh"`` or ``"sigmoid"``, of the scale.
        offset: Added to the scale. Published is 0, under which maps start near 0; 1 starts from the encoder's own.

    Raises:
        ValueError: If the activation is unknown or the reduction is not positive.
    """

    def __init__(
        self,
        sites: MapSites,
        *,
        at: Sequence[StageIndex] | None = (-2,),
        reduction: Reduction = 7.0,
        activation: Annotated[str, OneOf(("linear", "tanh", "sigmoid"))] = "linear",
        offset: Finite = 0.0,
    ) -> None:
        super().__init__(sites, at=at)
        self.activation = activation
        self.offset = offset

        def layers(c: int) -> nn.Sequential:
            return _layers((c + self.d_context, max(1, int((c + self.d_context) / reduction)), 2 * c), bias=False)

        self.generate = layer_per_site(self.channels, layers)

    def read(self, route: str, stage: int, features: Tensor, mask: Tensor | None) -> tuple[nn.Module, Tensor]:
        """The layers of a point, and the table."""
        return at_point(self.generate, route, stage), features

    def act(self, x: Tensor, read: tuple[nn.Module, Tensor], mask: Tensor | None) -> Tensor:
        """The map, scaled and shifted."""
        generate, features = read
        scale, shift = generate(torch.cat([x.flatten(2).mean(2), features], 1)).chunk(2, 1)
        return scaled(x, self.offset + ACTIVATIONS[self.activation](scale), shift, mask)


def _layers(widths: Sequence[int], bias: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.ReLU()] if layers else []
        layers.append(nn.Linear(n_in, n_out, bias=bias))
    return nn.Sequential(*layers)
