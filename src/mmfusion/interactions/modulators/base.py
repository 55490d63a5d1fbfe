"""What modulators share: where they act, and what they see of the table."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmfusion.layers.batch_statistics import for_one_case
from mmfusion.tokens import Tokens
from mmfusion.utils.meta import is_static

MapsAt = Mapping[int, Mapping[str, Tensor]]
"""By point the images' maps ``(b, c, *spatial)`` there."""


class Modulator(nn.Module):
    """A block that acts on the feature maps inside the image encoders, 2D or 3D.

    ``(maps, context, stage) -> maps``, called between the stages by a :class:`~mmfusion.models.FusionModel`. The points
    where it can act are counted along the encoder: ``stage`` is the stage that takes the maps next, so 0 is behind the
    stem and ``n_stages`` behind the last stage.

    What depends on the maps' channels is built by :meth:`bind`, which the model calls with the maps of a dry run. A
    subclass gives :meth:`build` and :meth:`forward`.

    Args:
        routes: For each image that it acts on, the encoder that it takes; images on one route share a modulator as they
            share the encoder. Other images of the model pass it by.
        at: The points where it acts. Negative ones count from the end: -1 is behind the last stage, -2 before it. None
            for all of them.

    Raises:
        ValueError: If there is no image or no point.
    """

    def __init__(self, routes: Mapping[str, str], *, at: Sequence[int] | None = None) -> None:
        super().__init__()
        if not routes or (at is not None and not at):
            raise ValueError(f"a modulator needs an image and a point to act at, got {dict(routes)} and {at=}")
        self.routes = dict(routes)
        self.at = None if at is None else tuple(at)
        self._bound: Any = None

    def points(self, n_stages: int) -> frozenset[int]:
        """Where it acts in encoders of that many stages, from 0 to ``n_stages``.

        Raises:
            ValueError: If one of its points is not there.
        """
        every = range(n_stages + 1)
        if self.at is None:
            return frozenset(every)
        wrong = [point for point in self.at if not -len(every) <= point < len(every)]
        if wrong:
            raise ValueError(
                f"{type(self).__name__} is to act at {wrong}; {n_stages} stages have the points 0, before the first, "
                f"to {n_stages}, behind the last, or -{n_stages + 1} to -1: change at, or n_stages"
            )
        return frozenset(every[point] for point in self.at)

    def bind(self, maps: MapsAt, context: Tokens | None) -> None:
        """Build for encoders and tables.

        Args:
            maps: The images' maps at each point where it acts, on any device; only shapes and dtypes are looked at.
            context: What :meth:`forward` will be given, or None.

        Raises:
            ValueError: If the images are others than those of its routes, or differ in their channels on one route, or
                if it is bound to others already.
        """
        channels: dict[str, dict[int, int]] = {}
        for point, of_images in sorted(maps.items()):
            if set(of_images) != set(self.routes):
                raise ValueError(f"this modulator is for the images {list(self.routes)}, got {list(of_images)}")
            for name, x in of_images.items():
                of_route = channels.setdefault(self.routes[name], {})
                if of_route.setdefault(point, x.shape[1]) != x.shape[1]:
                    raise ValueError(f"images on the route {self.routes[name]!r} have maps of different channels")
        d_context = 0 if context is None else context.x.shape[1] * context.x.shape[2]
        bound = (channels, d_context)
        if self._bound is not None:
            if self._bound != bound:
                raise ValueError(f"this modulator is bound to channels and context of {self._bound}, got {bound}")
            return
        self._bound = bound
        self.build(channels, d_context)
        self.to(next(iter(next(iter(maps.values())).values())).dtype)

    def build(self, channels: Mapping[str, Mapping[int, int]], d_context: int) -> None:
        """Make the parameters.

        Args:
            channels: By route and point, in order.
            d_context: Features of the context, 0 without one.
        """
        raise NotImplementedError("a modulator defines build()")  # abstract

    def forward(self, maps: dict[str, Tensor], context: Tokens | None, stage: int) -> dict[str, Tensor]:
        """Modulate.

        Args:
            maps: By image, ``(b, c, *spatial)``, one row a case; zeros for a case that lacks the image. An image that
                no case has is left out.
            context: What the modulator is told, one row a case, masked for a case that lacks it; or None.
            stage: The stage that takes the maps next, counted from 0.

        Returns:
            Maps of the same shapes.
        """
        raise NotImplementedError("a modulator defines forward()")  # abstract


class Conditioned(Modulator):
    """A modulator that the table conditions, each image for itself.

    A case without a table keeps its maps. A subclass gives :meth:`build`, :meth:`read` and :meth:`act`.

    Raises:
        ValueError: If there is nothing to be conditioned on.
    """

    def bind(self, maps: MapsAt, context: Tokens | None) -> None:
        """As :meth:`Modulator.bind`; there must be a context."""
        if context is None or context.x.shape[1] * context.x.shape[2] == 0:
            raise ValueError(f"{type(self).__name__} is conditioned on a table: give FusionModel(context=...) one")
        super().bind(maps, context)

    def forward(self, maps: dict[str, Tensor], context: Tokens | None, stage: int) -> dict[str, Tensor]:
        """Modulate each image's map, as the table says.

        Args:
            maps: By image, ``(b, c, *spatial)``.
            context: Features of the table, masked for a case that lacks it; None: all do.
            stage: The stage that takes the maps next, counted from 0.

        Returns:
            Maps of the same shapes; those of a case without a table as they came.

        Raises:
            ValueError: If it is not bound to this point and these images.
        """
        if context is None:
            return dict(maps)
        known = self._bound[0] if self._bound is not None else {}
        wrong = [name for name in maps if stage not in known.get(self.routes.get(name, ""), {})]
        if wrong:
            raise ValueError(
                f"this modulator is not bound to the images {wrong} before stage {stage}: put it into a FusionModel, "
                "or call bind(maps, context)"
            )
        features = context.filled().flatten(1).to(next(self.parameters()).dtype)
        there = None if context.mask is None else context.mask.any(1)
        routes = dict.fromkeys(self.routes[name] for name in maps)
        read = {route: self.read(route, stage, features, there) for route in routes}
        return {name: self.act(x, read[self.routes[name]], there) for name, x in maps.items()}

    def read(self, route: str, stage: int, features: Tensor, there: Tensor | None) -> Any:
        """What the table says for the maps of a route at a point, once for all images on it.

        Args:
            route: Of the encoder.
            stage: The point.
            features: Shape ``(b, d_context)``; zeros for a case that lacks the table.
            there: Shape ``(b,)``, bool: True has a table. None: all have.

        Returns:
            Whatever :meth:`act` takes.
        """
        raise NotImplementedError("a conditioned modulator defines read()")  # abstract

    def act(self, x: Tensor, read: Any, there: Tensor | None) -> Tensor:
        """The map ``(b, c, *spatial)``, modulated by what was read; that of a case without a table as it came."""
        raise NotImplementedError("a conditioned modulator defines act()")  # abstract


def a_layer_each(channels: Mapping[str, Mapping[int, int]], make: Callable[[int], nn.Module]) -> nn.ModuleDict:
    """A layer for each route and point, made for the number of channels there; :func:`at_point` finds it."""
    return nn.ModuleDict(
        {
            route: nn.ModuleDict({str(point): make(c) for point, c in widths.items()})
            for route, widths in channels.items()
        }
    )


def at_point(layers: nn.ModuleDict, route: str, stage: int) -> nn.Module:
    """The layer of a route and point."""
    return cast("nn.ModuleDict", layers[route])[str(stage)]


def like_map(values: Tensor, x: Tensor) -> Tensor:
    """Shape ``(b,)`` or ``(b, c)`` with axes of width 1 behind, to go with a map ``(b, c, *spatial)``."""
    return values.view(*values.shape, *(1,) * (x.ndim - values.ndim))


def neutral(values: Tensor, there: Tensor | None, value: float) -> Tensor:
    """Coefficients ``(b, ...)`` that change nothing for a case without a table."""
    if there is None:
        return values
    return torch.where(like_map(there, values), values, value)


def of_those_there(module: nn.Module, features: Tensor, there: Tensor | None, dim: int) -> Tensor:
    """A module over the cases that have a table, zeros for the others: batch statistics are of those alone.

    One case alone has none in training and is normalized by the running ones. Where shapes must not depend on values,
    all cases go through it.

    Args:
        module: From ``(b, d)`` to ``(b, dim)``.
        features: Shape ``(b, d)``.
        there: Shape ``(b,)``, bool; None: all.
        dim: Width of what the module gives.

    Returns:
        Shape ``(b, dim)``.
    """
    rows = None
    if there is not None and not is_static(features.device):
        rows = there.nonzero().squeeze(1)
        if len(rows) == 0:
            return features.new_zeros(len(features), dim)
    own = features if rows is None else features[rows]
    made: Tensor = for_one_case(partial(module, own), module, own)
    return made if rows is None else made.new_zeros(len(features), dim).index_copy(0, rows, made)
