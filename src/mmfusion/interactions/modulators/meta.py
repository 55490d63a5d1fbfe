"""Gates made by the table's metadata, as dermatology has them."""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from mmfusion.interactions.modulators.affine import scaled
from mmfusion.interactions.modulators.base import Conditioned, a_layer_each, at_point, like_map, of_those_there
from mmfusion.options import StageIndex, Width
from mmfusion.registry import modulators


@modulators.register("metablock")
class MetaBlock(Conditioned):
    """``sigmoid(tanh(map * f(t)) + g(t))`` (Pacheco and Krohling, 2021), f and g linear with batch normalisation.

    The result replaces the map: values lie between 0 and 1. The batch statistics are of the cases that have a table;
    in training a single one of a batch is normalized by the running statistics.

    Args:
        routes: For each image the encoder that it takes.
        at: The points where it acts; published is behind the last stage.
    """

    def __init__(self, routes: Mapping[str, str], *, at: Sequence[StageIndex] | None = (-1,)) -> None:
        super().__init__(routes, at=at)

    def build(self, channels: Mapping[str, Mapping[int, int]], d_context: int) -> None:
        """Make the parameters for maps of that many channels, by route and point."""

        def layer(c: int) -> nn.Sequential:
            return nn.Sequential(nn.Linear(d_context, c), nn.BatchNorm1d(c))

        self.f, self.g = a_layer_each(channels, layer), a_layer_each(channels, layer)

    def read(self, route: str, stage: int, features: Tensor, there: Tensor | None) -> tuple[Tensor, Tensor]:
        """``f(t)`` and ``g(t)`` of a point, each ``(b, c)``."""
        made = []
        for layers in (self.f, self.g):
            layer = cast("nn.Sequential", at_point(layers, route, stage))
            made.append(of_those_there(layer, features, there, cast("nn.Linear", layer[0]).out_features))
        return made[0], made[1]

    def act(self, x: Tensor, read: tuple[Tensor, Tensor], there: Tensor | None) -> Tensor:
        """The gated map."""
        f, g = (like_map(values, x) for values in read)
        made = torch.sigmoid(torch.tanh(x * f) + g)
        return made if there is None else torch.where(like_map(there, x), made, x)


@modulators.register("metanet")
class MetaNet(Conditioned):
    """``sigmoid(B relu(A t)) * map`` (Li et al., 2020), A and B 1-wide convolutions of the table as a one-position map.

    Args:
        routes: For each image the encoder that it takes.
        at: The points where it acts; published is behind the last stage.
        hidden: Width between the two convolutions.
    """

    def __init__(
        self, routes: Mapping[str, str], *, at: Sequence[StageIndex] | None = (-1,), hidden: Width = 64
    ) -> None:
        super().__init__(routes, at=at)
        self.hidden = hidden

    def build(self, channels: Mapping[str, Mapping[int, int]], d_context: int) -> None:
        """Make the parameters for maps of that many channels, by route and point."""

        def layers(c: int) -> nn.Sequential:
            return nn.Sequential(nn.Linear(d_context, self.hidden), nn.ReLU(), nn.Linear(self.hidden, c), nn.Sigmoid())

        self.gate = a_layer_each(channels, layers)

    def read(self, route: str, stage: int, features: Tensor, there: Tensor | None) -> Tensor:
        """The gates of a point, shape ``(b, c)``, between 0 and 1."""
        gates: Tensor = at_point(self.gate, route, stage)(features)
        return gates

    def act(self, x: Tensor, read: Tensor, there: Tensor | None) -> Tensor:
        """The gated map."""
        return scaled(x, read, None, there)
