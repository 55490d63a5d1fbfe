"""Streams that gate each other's channels."""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from mmfusion.interactions.modulators.base import Modulator, like_map
from mmfusion.options import Reduction, StageIndex
from mmfusion.registry import modulators
from mmfusion.tokens import Tokens


@modulators.register("mmtm")
class MMTM(Modulator):
    """The multimodal transfer module (Joze et al., 2020, section 3).

    Each stream's map is squeezed to the means of its channels; a joint representation is made of all of them, and from
    it one gate a stream: ``z = relu(A [mean(map_1); ...; t] + a)``, ``2 sigmoid(B_m z + b_m) * map_m``. A gate of 1, at
    ``B_m z + b_m = 0``, changes nothing: public copies leave out the factor 2.

    NOTE[DIFF] A table is a stream that comes squeezed: it enters the joint representation and has no map to be gated.
    What a case lacks stands as zeros in it, so the streams that are there are still gated, by each other. Each image
    has gates of its own, also where images share an encoder.

    Args:
        routes: For each image the encoder that it takes.
        at: The points where it acts; the default is behind each of the last three stages.
        ratio: The joint representation has ``2 * (sum of all streams' widths) / ratio`` features, 1 at least.

    Raises:
        ValueError: If the ratio is not positive, or there is a single stream.
    """

    def __init__(
        self, routes: Mapping[str, str], *, at: Sequence[StageIndex] | None = (-3, -2, -1), ratio: Reduction = 4.0
    ) -> None:
        super().__init__(routes, at=at)
        if not ratio > 0:
            raise ValueError(f"ratio must be positive, got {ratio}")
        self.ratio = ratio
        self._d_context = 0

    def build(self, channels: Mapping[str, Mapping[int, int]], d_context: int) -> None:
        """Make the parameters for maps of that many channels, by route and point."""
        if len(self.routes) + bool(d_context) < 2:
            raise ValueError(
                f"'mmtm' needs two streams: streams gate each other, and there is one alone: {list(self.routes)}"
            )
        self._d_context = d_context
        self.join, self.gate = nn.ModuleDict(), nn.ModuleDict()
        for point in next(iter(channels.values())):
            widths = {name: channels[route][point] for name, route in self.routes.items()}
            joint = max(1, int(2 * (sum(widths.values()) + d_context) / self.ratio))
            self.join[str(point)] = nn.Linear(sum(widths.values()) + d_context, joint)
            self.gate[str(point)] = nn.ModuleDict({name: nn.Linear(joint, c) for name, c in widths.items()})

    def forward(self, maps: dict[str, Tensor], context: Tokens | None, stage: int) -> dict[str, Tensor]:
        """Gate each stream by all of them.

        Args:
            maps: By image, ``(b, c, *spatial)``; zeros for a case that lacks the image.
            context: Features of the table, masked for a case that lacks it; None where there is no table.
            stage: The stage that takes the maps next, counted from 0.

        Returns:
            Maps of the same shapes.

        Raises:
            ValueError: If it is not bound to this point and these images.
        """
        if self._bound is None or str(stage) not in self.gate or not set(maps) <= set(self.routes):
            raise ValueError(
                f"this modulator is not bound to the images {list(maps)} before stage {stage}: put it into a "
                "FusionModel, or call bind(maps, context)"
            )
        if not maps:
            return {}
        gates = cast("nn.ModuleDict", self.gate[str(stage)])
        first = next(iter(maps.values()))
        streams = [
            maps[name].flatten(2).mean(2)
            if name in maps
            else first.new_zeros(len(first), cast("nn.Linear", gates[name]).out_features)
            for name in self.routes
        ]
        if self._d_context:
            streams.append(first.new_zeros(len(first), self._d_context) if context is None else _flat(context, first))
        joint = torch.relu(self.join[str(stage)](torch.cat(streams, 1)))
        return {name: x * like_map(2 * torch.sigmoid(gates[name](joint)), x) for name, x in maps.items()}


def _flat(context: Tokens, like: Tensor) -> Tensor:
    return context.filled().flatten(1).to(like.dtype)
