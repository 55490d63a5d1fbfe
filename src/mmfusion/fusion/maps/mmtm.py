"""Streams that gate each other's channels."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from mmfusion.fusion.maps.map_fusion import MapFusion, MapSites, like_map
from mmfusion.options import Reduction, StageIndex
from mmfusion.registry import map_fusions
from mmfusion.tokens import Present, Tokens


@map_fusions.register("mmtm")
class MMTM(MapFusion):
    """The multimodal transfer module (Joze et al., 2020, section 3).

    Each stream's map is squeezed to the means of its channels; a joint representation is made of all of them, and from
    it one gate a stream: ``z = relu(A [mean(map_1); ...; t] + a)``, ``2 sigmoid(B_m z + b_m) * map_m``. A gate of 1, at
    ``B_m z + b_m = 0``, changes nothing: public copies leave out the factor 2.

    NOTE[DIFF] A table is a stream that comes squeezed: it enters the joint representation and has no map to be gated.
    What a case lacks is zeros in it, so the other streams still gate each other. Each image
    has its own gates, also where images share an encoder.

    Args:
        sites: The images' maps.
        at: The points where it acts; the default is behind each of the last three stages.
        ratio: The joint representation has ``2 * (sum of all streams' widths) / ratio`` features, 1 at least.

    Raises:
        ValueError: If the ratio is not positive, or there is a single stream.
    """

    def __init__(
        self, sites: MapSites, *, at: Sequence[StageIndex] | None = (-3, -2, -1), ratio: Reduction = 4.0
    ) -> None:
        super().__init__(sites, at=at)
        if len(self.routes) + bool(self.d_context) < 2:
            raise ValueError(
                f"'mmtm' needs two streams: streams gate each other, there is a single one: {list(self.routes)}"
            )
        self.join, self.gate = nn.ModuleDict(), nn.ModuleDict()
        for point in next(iter(self.channels.values())):
            widths = {name: self.channels[route][point] for name, route in self.routes.items()}
            joint = max(1, int(2 * (sum(widths.values()) + self.d_context) / ratio))
            self.join[str(point)] = nn.Linear(sum(widths.values()) + self.d_context, joint)
            self.gate[str(point)] = nn.ModuleDict({name: nn.Linear(joint, c) for name, c in widths.items()})

    def forward(
        self, maps: dict[str, Tensor], context: Tokens | None, stage: int, present: Present | None = None
    ) -> dict[str, Tensor]:
        """Gate each stream by all of them; see :meth:`MapFusion.forward`."""
        if str(stage) not in self.gate or not set(maps) <= set(self.routes):
            raise ValueError(f"this block was not built for the images {list(maps)} before stage {stage}")
        if not maps:
            return {}
        gates = cast("nn.ModuleDict", self.gate[str(stage)])
        first = next(iter(maps.values()))
        streams = [
            maps[name].flatten(2).mean(2)
            if name in maps
            else first.new_zeros(first.shape[0], cast("nn.Linear", gates[name]).out_features)
            for name in self.routes
        ]
        if self.d_context:
            streams.append(
                first.new_zeros(first.shape[0], self.d_context) if context is None else _flat(context, first)
            )
        joint = torch.relu(self.join[str(stage)](torch.cat(streams, 1)))
        return {name: x * like_map(2 * torch.sigmoid(gates[name](joint)), x) for name, x in maps.items()}


def _flat(context: Tokens, like: Tensor) -> Tensor:
    return context.filled().flatten(1).to(like.dtype)
