"""The images of a batch on their way through the encoders, those of one route and shape together."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmfusion.backbones.base import Backbone


class Lane(NamedTuple):
    """Images of one shape on one route: one batch.

    Attributes:
        route: The encoder.
        names: The images, in order.
        sizes: Rows of each.
        x: Their rows, one image's after another's.
    """

    route: str
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    x: Tensor


def lanes(images: Mapping[str, Tensor], routes: Mapping[str, str]) -> list[Lane]:
    """As few batches as there can be."""
    together: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for name, image in images.items():
        together.setdefault((routes[name], tuple(image.shape[1:])), []).append(name)
    return [
        Lane(route, tuple(names), tuple(len(images[name]) for name in names), joined([images[name] for name in names]))
        for (route, _), names in together.items()
    ]


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Rows one after another; no copy of a single part."""
    return torch.cat(list(parts)) if len(parts) > 1 else parts[0]


def parted(lane: Lane, x: Tensor) -> dict[str, Tensor]:
    """Each image's rows, views."""
    return dict(zip(lane.names, torch.split(x, list(lane.sizes)), strict=True))


def maps_by_image(lane: Lane, stages: Iterable[Tensor]) -> dict[str, tuple[Tensor, ...]]:
    """Each image's maps, one a stage."""
    parts = [parted(lane, stage) for stage in stages]
    return {name: tuple(part[name] for part in parts) for name in lane.names}


class Stem(nn.Module):
    """An encoder's stem as a module, for a dry run.

    Raises:
        ValueError: If the encoder is not one in stages.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        if not isinstance(encoder, Backbone) or type(encoder).stem is Backbone.stem:
            label = getattr(encoder, "name", type(encoder).__name__)
            raise ValueError(
                f"the encoder {label} has no stem and no stages of its own, so no modulator can act inside it: let it "
                "act behind the last stage alone, at=(-1,), or choose another encoder"
            )
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        """What the first stage takes."""
        encoder = self.encoder
        return encoder.stem(x)
