"""Gates made by the table's metadata, as dermatology has them."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from mmfusion.fusion.maps.affine import scaled
from mmfusion.fusion.maps.map_fusion import (
    ConditionedMapFusion,
    MapSites,
    at_point,
    layer_per_site,
    like_map,
    over_present,
)
from mmfusion.layers.presence import where_present
from mmfusion.options import StageIndex, Width
from mmfusion.registry import map_fusions


@map_fusions.register("metablock")
class MetaBlock(ConditionedMapFusion):
    """``sigmoid(tanh(map * f(t)) + g(t))`` (Pacheco and Krohling, 2021), f and g linear with batch normalization.

    The result replaces the map: values lie between 0 and 1. The batch statistics are of the cases that have a table;
    in training a single one of a batch is normalized by the running statistics.

    Args:
        sites: The images' maps.
        at: The points where it acts; published is behind the last stage.
    """

    def __init__(self, sites: MapSites, *, at: Sequence[StageIndex] | None = (-1,)) -> None:
        super().__init__(sites, at=at)

        def layer(c: int) -> nn.Sequential:
            return nn.Sequential(nn.Linear(self.d_context, c), nn.BatchNorm1d(c))

        self.f, self.g = layer_per_site(self.channels, layer), layer_per_site(self.channels, layer)

    def read(self, route: str, stage: int, features: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """``f(t)`` and ``g(t)`` of a point, each ``(b, c)``."""
        outputs = []
        for layers in (self.f, self.g):
            layer = cast("nn.Sequential", at_point(layers, route, stage))
            outputs.append(over_present(layer, features, mask, cast("nn.Linear", layer[0]).out_features))
        return outputs[0], outputs[1]

    def act(self, x: Tensor, read: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """The gated map."""
        f, g = (like_map(values, x) for values in read)
        outputs = torch.sigmoid(torch.tanh(x * f) + g)
        return where_present(outputs, mask, x)


@map_fusions.register("metanet")
class MetaNet(ConditionedMapFusion):
    """``sigmoid(B relu(A t)) * map`` (Li et al., 2020), A and B 1-wide convolutions of the table as a one-position map.

    Args:
        sites: The images' maps.
        at: The points where it acts; published is behind the last stage.
        hidden: Width between the two convolutions.
    """

    def __init__(self, sites: MapSites, *, at: Sequence[StageIndex] | None = (-1,), hidden: Width = 64) -> None:
        super().__init__(sites, at=at)

        def layers(c: int) -> nn.Sequential:
            return nn.Sequential(nn.Linear(self.d_context, hidden), nn.ReLU(), nn.Linear(hidden, c), nn.Sigmoid())

        self.gate = layer_per_site(self.channels, layers)

    def read(self, route: str, stage: int, features: Tensor, mask: Tensor | None) -> Tensor:
        """The gates of a point, shape ``(b, c)``, between 0 and 1."""
        gates: Tensor = at_point(self.gate, route, stage)(features)
        return gates

    def act(self, x: Tensor, read: Tensor, mask: Tensor | None) -> Tensor:
        """The gated map."""
        return scaled(x, read, None, mask)
