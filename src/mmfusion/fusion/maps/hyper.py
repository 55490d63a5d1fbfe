"""Convolutions whose weights the table generates."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmfusion.fusion.maps.map_fusion import ConditionedMapFusion, MapSites, at_point, layer_per_site
from mmfusion.layers.presence import where_present
from mmfusion.options import StageIndex, Width
from mmfusion.registry import map_fusions


@map_fusions.register("hyperfusion")
class HyperConv(ConditionedMapFusion):
    """A 1-wide convolution beside the maps, of weights of each case's own (Duenias et al., 2025, HyperFusion).

    ``e = PReLU(A t)``; the convolution's weights and biases are linear in ``e``: ``[W; w] = H e``; ``map + W map + w``.
    All cases are one batched matrix product.

    The generated weights start with the variance that weights of a layer of their own would have (Chang et al., 2020,
    hyperfan-in): for the mean square of the table's features that ``sites`` expects and one of 1 of the map, ``W map``
    and ``w`` have a variance of 1.

    NOTE[DIFF] The paper generates the weights of the shortcut convolution of the last residual block. Encoders of other
    kinds have none, and the shortcut lies inside a stage, so here the convolution stands beside the stage's input:
    with a shortcut S, the block sees ``S (1 + W)`` there. NOTE[DIFF] The table's layer is trained with the rest, and
    has no batch normalization: the published one is taken from a network that was trained on the table alone.

    Args:
        sites: The images' maps.
        at: The points where it acts; the default is before the last stage.
        dim: Width of the table's embedding e.

    Raises:
        ValueError: If ``dim`` is not positive.
    """

    def __init__(self, sites: MapSites, *, at: Sequence[StageIndex] | None = (-2,), dim: Width = 8) -> None:
        super().__init__(sites, at=at)
        self.dim = dim
        self.mean_square = sites.mean_square
        self.embed = nn.ModuleDict({route: self._embedding(self.d_context) for route in self.channels})
        self.generate = layer_per_site(self.channels, self._generator)

    def _embedding(self, d_context: int) -> nn.Sequential:
        """Keeps the mean square of the table's features at the start."""
        layer = nn.Linear(d_context, self.dim)
        nn.init.kaiming_normal_(layer.weight, a=0.25, nonlinearity="leaky_relu")
        nn.init.zeros_(layer.bias)
        return nn.Sequential(layer, nn.PReLU(init=0.25))

    def _generator(self, c: int) -> nn.Linear:
        layer = nn.Linear(self.dim, c * c + c)
        nn.init.zeros_(layer.bias)
        bound = math.sqrt(3 / (self.dim * self.mean_square))
        nn.init.uniform_(layer.weight[: c * c], -bound / math.sqrt(c), bound / math.sqrt(c))
        nn.init.uniform_(layer.weight[c * c :], -bound, bound)
        return layer

    def read(self, route: str, stage: int, features: Tensor, mask: Tensor | None) -> Tensor:
        """Weights, then biases of the convolution of each case, shape ``(b, c * c + c)``."""
        values: Tensor = at_point(self.generate, route, stage)(self.embed[route](features))
        return where_present(values, mask, 0.0)

    def act(self, x: Tensor, read: Tensor, mask: Tensor | None) -> Tensor:
        """The map, and beside it the convolution."""
        c = x.shape[1]
        weights, biases = read[:, : c * c].reshape(x.shape[0], c, c), read[:, c * c :].unsqueeze(2)
        return x + torch.baddbmm(biases, weights, x.flatten(2)).view(x.shape)
