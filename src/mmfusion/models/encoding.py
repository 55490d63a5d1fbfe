"""The images of a batch on their way through the encoders, those of one route and shape together."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

import torch
from torch import Tensor, nn

from mmfusion.backbones.base import Backbone
from mmfusion.interactions.modulators import Modulator
from mmfusion.tokens import Tokens
from mmfusion.utils.meta import run_on_meta

Result = TypeVar("Result")
Modulate: TypeAlias = Callable[[int, dict[str, Tensor]], dict[str, Tensor]]
"""From a point and the images' maps there, of the rows that are there, to what goes on from it."""


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


def by_steps(
    batches: Sequence[Lane],
    encoders: nn.ModuleDict,
    n_stages: int,
    inside: Collection[int],
    modulate: Modulate,
    run: Callable[[str, Callable[[Tensor], Tensor], Tensor], Tensor],
) -> list[tuple[Tensor, ...]]:
    """All encoders side by side, stage after stage: a modulator may link the images.

    Args:
        batches: The images.
        encoders: By route.
        n_stages: Of each encoder.
        inside: The points before a stage where modulators act.
        modulate: Called at these.
        run: Calls a part of the encoder of a route with a batch.

    Returns:
        For each batch the map of each stage, modulated; the last one not yet, which is not before a stage.
    """

    def through(stage: int | None, xs: Sequence[Tensor]) -> list[Tensor]:
        made = []
        for lane, x in zip(batches, xs, strict=True):
            encoder = cast("Backbone", encoders[lane.route])
            made.append(run(lane.route, encoder.stem if stage is None else partial(encoder.stage, stage), x))
        return made

    xs = through(None, [lane.x for lane in batches])
    maps: list[list[Tensor]] = []
    for i in range(n_stages):
        if i in inside:
            parts: dict[str, Tensor] = {}
            for lane, x in zip(batches, xs, strict=True):
                parts |= parted(lane, x)
            parts = modulate(i, parts)
            xs = [joined([parts[name] for name in lane.names]) for lane in batches]
        maps.append(xs)
        xs = through(i, xs)
    return list(zip(*maps[1:], xs, strict=True))


def own_maps(modulator: Modulator, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The maps of the images that a modulator acts on; the others pass it by."""
    return {name: x for name, x in maps.items() if name in modulator.routes}


def bind_modulator(
    modulator: Modulator,
    points: Collection[int],
    stems: Mapping[str, Tensor],
    maps: Mapping[str, Sequence[Tensor]],
    context: Tokens | None,
) -> None:
    """Build a modulator for the maps where it acts, and run it without numbers.

    Args:
        modulator: To be bound.
        points: Where it acts.
        stems: What each image's stem gives, on the meta device; only looked at if it acts there.
        maps: Each image's maps, one a stage, on the meta device; it is given those of its own images.
        context: What it will be told, on the meta device.

    Raises:
        ValueError: If it is for an image that is not there, cannot be built, or changes the shape of a map.
    """
    at = {
        p: own_maps(modulator, {name: maps[name][p - 1] if p else stems[name] for name in maps}) for p in sorted(points)
    }
    modulator.bind(at, context)

    def shapes(given: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        return {name: tuple(x.shape[1:]) for name, x in given.items()}

    for point, given in at.items():
        made = run_on_meta(modulator, given, context, point)
        if shapes(made) != shapes(given):
            raise ValueError(
                f"{type(modulator).__name__} must keep the shapes of maps, before stage {point} it makes "
                f"{shapes(made)} of {shapes(given)}"
            )


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
