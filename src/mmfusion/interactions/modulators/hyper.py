"""Convolutions whose weights the table generates."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmfusion.interactions.modulators.base import Conditioned, a_layer_each, at_point, neutral
from mmfusion.options import Positive, StageIndex, Width
from mmfusion.registry import modulators


@modulators.register("hyperfusion")
class HyperConv(Conditioned):
    """A 1-wide convolution beside the maps, of weights of each case's own (Duenias et al., 2025, HyperFusion).

    ``e = PReLU(A t)``; the convolution's weights and biases are linear in ``e``: ``[W; w] = H e``; ``map + W map + w``.
    All cases are one batched matrix product.

    The generated weights start with the variance that weights of a layer of their own would have (Chang et al., 2020,
    hyperfan-in): with mean squares of the table and the map of 1, ``W map`` and ``w`` have a variance of 1.

    NOTE[DIFF] The paper generates the weights of the shortcut convolution of the last residual block. Encoders of other
    kinds have none, and the shortcut lies inside a stage, so here the convolution stands beside the stage's input:
    with a shortcut S, the block sees ``S (1 + W)`` there. NOTE[DIFF] The table's layer is trained with the rest, and
    has no batch normalisation: the published one is taken from a network that was trained on the table alone.

    Args:
        routes: For each image the encoder that it takes.
        at: The points where it acts; the default is before the last stage.
        dim: Width of the table's embedding e.
        mean_square: Of the table's features, for the initial variance.

    Raises:
        ValueError: If ``dim`` or ``mean_square`` is not positive.
    """

    def __init__(
        self,
        routes: Mapping[str, str],
        *,
        at: Sequence[StageIndex] | None = (-2,),
        dim: Width = 8,
        mean_square: Positive = 1.0,
    ) -> None:
        super().__init__(routes, at=at)
        if dim < 1 or not mean_square > 0:
            raise ValueError(f"dim and mean_square must be positive, got {dim=} and {mean_square=}")
        self.dim = dim
        self.mean_square = mean_square

    def build(self, channels: Mapping[str, Mapping[int, int]], d_context: int) -> None:
        """Make the parameters for maps of that many channels, by route and point."""
        self.embed = nn.ModuleDict({route: self._embedding(d_context) for route in channels})
        self.generate = a_layer_each(channels, self._generator)

    def _embedding(self, d_context: int) -> nn.Sequential:
        """Keeps the mean square of the table's features at the start."""
        layer = nn.Linear(d_context, self.dim)
        nn.init.kaiming_normal_(layer.weight, a=0.25, nonlinearity="leaky_relu")
        nn.init.zeros_(layer.bias)
        return nn.Sequential(layer, nn.PReLU(init=0.25))

    def _generator(self, c: int) -> nn.Linear:
        layer = nn.Linear(self.dim, c * c + c)
        nn.init.zeros_(layer.bias)
        one = math.sqrt(3 / (self.dim * self.mean_square))
        nn.init.uniform_(layer.weight[: c * c], -one / math.sqrt(c), one / math.sqrt(c))
        nn.init.uniform_(layer.weight[c * c :], -one, one)
        return layer

    def read(self, route: str, stage: int, features: Tensor, there: Tensor | None) -> Tensor:
        """Weights, then biases of the convolution of each case, shape ``(b, c * c + c)``."""
        values: Tensor = at_point(self.generate, route, stage)(self.embed[route](features))
        return neutral(values, there, 0.0)

    def act(self, x: Tensor, read: Tensor, there: Tensor | None) -> Tensor:
        """The map, and beside it the convolution."""
        c = x.shape[1]
        weights, biases = read[:, : c * c].reshape(len(x), c, c), read[:, c * c :].unsqueeze(2)
        return x + torch.baddbmm(biases, weights, x.flatten(2)).view(x.shape)
