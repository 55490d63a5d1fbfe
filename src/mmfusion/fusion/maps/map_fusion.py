"""Map fusion: base classes, and where in the encoders a block acts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from torch import Tensor, nn

from mmfusion.layers.batch_statistics import for_one_case
from mmfusion.tokens import Present, Tokens
from mmfusion.utils.meta import is_static


@dataclass(frozen=True)
class MapSites:
    """The maps that a block can act on, before there are any.

    The points along an encoder are numbered by the stage that takes the maps next: 0 is behind the stem, ``n_stages``
    behind the last stage.

    Attributes:
        routes: For each image the encoder that it takes.
        shapes: For each image the shape ``(c, *spatial)`` at each point; None at point 0 where the encoder has no stem
            of its own, and at every point but the last where it has no stages of its own.
        d_context: Features of the context; 0 without one.
        mean_square: Of these features, as expected; it scales weights that are generated from them.
        whole: Names of the encoders that cannot be taken apart between their stages.

    Raises:
        ValueError: If there is no image, the images differ in their number of points, or a number is out of range.
    """

    routes: Mapping[str, str]
    shapes: Mapping[str, Sequence[tuple[int, ...] | None]]
    d_context: int = 0
    mean_square: float = 1.0
    whole: Sequence[str] = ()

    def __post_init__(self) -> None:
        if set(self.shapes) != set(self.routes):
            raise ValueError(
                f"each image needs a route and its maps, got routes of {sorted(self.routes)} and maps of "
                f"{sorted(self.shapes)}"
            )
        if not self.shapes:
            raise ValueError("map fusion needs an image, there is none")
        counts = {name: len(shapes) - 1 for name, shapes in self.shapes.items()}
        if len(set(counts.values())) != 1:
            raise ValueError(f"map fusion needs encoders with one number of stages, got {counts}")
        if not 0 < self.mean_square < float("inf"):
            raise ValueError(f"mean_square must be positive, got {self.mean_square}")

    @property
    def n_stages(self) -> int:
        """Stages of each encoder."""
        return len(next(iter(self.shapes.values()))) - 1

    def only(self, *names: str) -> "MapSites":
        """Those of some of the images, for a block that leaves the others' maps as they are.

        Raises:
            ValueError: If there is no such image.
        """
        if unknown := [name for name in names if name not in self.routes]:
            raise ValueError(f"there is no map of {unknown}; there are maps of {list(self.routes)}")
        routes = {name: self.routes[name] for name in names}
        return replace(self, routes=routes, shapes={name: self.shapes[name] for name in names})


class MapFusion(nn.Module):
    """A block that acts on the feature maps inside the image encoders, 2D or 3D: ``(maps, context, stage) -> maps``.

    Args:
        sites: The images' maps. Images on one route share the block's weights as they share the encoder.
        at: The points where it acts, see :class:`MapSites`. Negative ones count from the end: -1 is behind the last
            stage, -2 before it. None for all of them.

    Attributes:
        points: Where it acts, from 0 to ``n_stages``.
        channels: By route and point, in order.

    Raises:
        ValueError: If there is no such point, or the encoders have no map there.
    """

    def __init__(self, sites: MapSites, *, at: Sequence[int] | None = None) -> None:
        super().__init__()
        every = range(sites.n_stages + 1)
        if at is not None and not at:
            raise ValueError(f"a map fusion needs a point to act at, got at={list(at)}")
        if wrong := [point for point in at or () if not -len(every) <= point < len(every)]:
            raise ValueError(
                f"{type(self).__name__} is to act at {wrong}; {sites.n_stages} stages have the points 0, before the "
                f"first, to {sites.n_stages}, behind the last, or -{sites.n_stages + 1} to -1: change at, or n_stages"
            )
        self.routes = dict(sites.routes)
        self.d_context = sites.d_context
        self.points = frozenset(every if at is None else (every[point] for point in at))
        self.channels: dict[str, dict[int, int]] = {}
        for point in sorted(self.points):
            for name, route in self.routes.items():
                shape = sites.shapes[name][point]
                if shape is None:
                    which = f"encoder {sites.whole[0]!r}" if sites.whole else f"encoder of {name!r}"
                    raise ValueError(
                        f"the {which} cannot be taken apart between its stages, so {type(self).__name__} cannot act "
                        "inside it: let it act behind the last stage alone, at=(-1,), or choose another encoder"
                    )
                of_route = self.channels.setdefault(route, {})
                if of_route.setdefault(point, shape[0]) != shape[0]:
                    raise ValueError(f"images on the route {route!r} have maps of different channels")

    def forward(
        self, maps: dict[str, Tensor], context: Tokens | None, stage: int, present: Present | None = None
    ) -> dict[str, Tensor]:
        """Change the maps.

        Args:
            maps: By image, ``(b, c, *spatial)``, one row per case; zeros for a case that lacks the image. An image that
                no case has is left out.
            context: Features of the tables, shape ``(b, 1, d_context)``, masked for a case that lacks them; or None.
            stage: The point, one of :attr:`points`.
            present: Which cases have which image, shape ``(b,)`` bool each; a name left out has all.

        Returns:
            Maps of the same shapes.
        """
        raise NotImplementedError("a map fusion defines forward()")  # abstract


class ConditionedMapFusion(MapFusion):
    """A map fusion that the tables condition, each image by itself; a case without a table keeps its maps.

    A subclass defines :meth:`read` and :meth:`act`.

    Raises:
        ValueError: If there is no context.
    """

    def __init__(self, sites: MapSites, *, at: Sequence[int] | None = None) -> None:
        if not sites.d_context:
            raise ValueError(
                f"{type(self).__name__} is conditioned on a table, and there is none: it needs data with a table, and "
                "a model with a context"
            )
        super().__init__(sites, at=at)

    def forward(
        self,
        maps: dict[str, Tensor],
        context: Tokens | None,
        stage: int,
        present: Present | None = None,
        *,
        cases: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """As :meth:`MapFusion.forward`.

        Args:
            maps: As there; of an image in ``cases`` any number of rows.
            context: As there.
            stage: As there.
            present: As there.
            cases: For images of which a case has several: the case of each row, shape ``(n,)`` int64.

        Returns:
            As there.
        """
        cases = cases or {}
        if context is None:
            return dict(maps)
        if wrong := [name for name in maps if stage not in self.channels.get(self.routes.get(name, ""), {})]:
            raise ValueError(f"this block was not built for the images {wrong} before stage {stage}")
        features = context.filled().flatten(1).to(next(self.parameters()).dtype)
        mask = None if context.mask is None else context.mask.any(1)
        read = {route: self.read(route, stage, features, mask) for route in {self.routes[name]: 0 for name in maps}}
        return {
            name: self.act(x, *_of_rows((read[self.routes[name]], mask), cases.get(name))) for name, x in maps.items()
        }

    def read(self, route: str, stage: int, features: Tensor, mask: Tensor | None) -> Any:
        """What the tables give for the maps of a route at a point, computed once for all images on it.

        Args:
            route: Of the encoder.
            stage: The point.
            features: Shape ``(b, d_context)``; zeros for a case that lacks the tables.
            mask: Shape ``(b,)``, bool: True has a table. None: all have.

        Returns:
            Whatever :meth:`act` takes: a tensor ``(b, ...)``, or a tuple with such tensors and whatever else.
        """
        raise NotImplementedError("a conditioned map fusion defines read()")  # abstract

    def act(self, x: Tensor, read: Any, mask: Tensor | None) -> Tensor:
        """The map ``(b, c, *spatial)``, changed by what :meth:`read` gave; as it is for a case without a table."""
        raise NotImplementedError("a conditioned map fusion defines act()")  # abstract


def _of_rows(values: Any, cases: Tensor | None) -> Any:
    """What belongs to cases, for each row of maps that are several per case; None: each case is a row."""
    if cases is None:
        return values
    if isinstance(values, Tensor):
        return values.index_select(0, cases)
    return tuple(_of_rows(value, cases) for value in values) if isinstance(values, tuple) else values


def layer_per_site(channels: Mapping[str, Mapping[int, int]], make: Callable[[int], nn.Module]) -> nn.ModuleDict:
    """One layer for each route and point, made for the number of channels there; :func:`at_point` looks it up."""
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


def over_present(module: nn.Module, features: Tensor, mask: Tensor | None, dim: int) -> Tensor:
    """A module over the cases that have a table, zeros for the others: batch statistics are of those alone.

    One case alone has none in training and is normalized by the running ones. Where shapes must not depend on values,
    all cases go through it.

    Args:
        module: From ``(b, d)`` to ``(b, dim)``.
        features: Shape ``(b, d)``.
        mask: Shape ``(b,)``, bool; None: all.
        dim: Width of what the module gives.

    Returns:
        Shape ``(b, dim)``.
    """
    rows = None
    if mask is not None and not is_static(features.device):
        rows = mask.nonzero().squeeze(1)
        if len(rows) == 0:
            return features.new_zeros(features.shape[0], dim)
    known = features if rows is None else features[rows]
    out: Tensor = for_one_case(partial(module, known), module, known)
    return out if rows is None else out.new_zeros(features.shape[0], dim).index_copy(0, rows, out)
