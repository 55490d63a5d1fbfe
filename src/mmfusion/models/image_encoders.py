"""Image encoders of a model: routes, map fusion between their stages, freezing."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Literal, NamedTuple, TypeVar, cast, get_args

import torch
from torch import Tensor, nn

from mmfusion.backbones import create_backbone
from mmfusion.backbones.base import Backbone
from mmfusion.fusion.maps import MapFusion, MapSites
from mmfusion.layers.batch_statistics import for_one_case
from mmfusion.models.bags import BagLayout, BagPooling, Unbagged
from mmfusion.models.fused_maps import fused
from mmfusion.models.lanes import by_image, joined, lanes
from mmfusion.models.rows import Rows
from mmfusion.models.shapes import check_map_fusion, dtype_of
from mmfusion.option_checks import check_options, keyword_options
from mmfusion.registry import backbones, named
from mmfusion.spec import Image
from mmfusion.tokens import Bag, Content, Maps, Tokens
from mmfusion.utils.meta import run_on_meta

Result = TypeVar("Result")


class ImageEncoders(nn.Module):
    """Images to feature maps, one pass of each encoder over all images on its route.

    Args:
        images: The image modalities.
        backbones: Encoders by name.
        routes: For each image the encoder that it takes; images on one route share weights and run as one batch. None:
            each takes the encoder of its own name.
        bag: How the maps of several images of a case become one, at each stage: ``"mean"`` or ``"max"``.

    Attributes:
        map_shapes: By image, the shapes ``(c, *spatial)`` of its encoder's maps, one per stage.
        n_stages: Stages of each encoder.
        fusions: Blocks that act on the maps, in order; see :meth:`add_fusion`.

    Raises:
        ValueError: If images and encoders do not fit together, or an encoder cannot take the size of its images.
    """

    def __init__(
        self,
        images: Mapping[str, Image],
        backbones: Mapping[str, nn.Module],
        routes: Mapping[str, str] | None = None,
        *,
        bag: BagPooling = "mean",
    ) -> None:
        super().__init__()
        if bag not in get_args(BagPooling):
            raise ValueError(f"bag expects one of {', '.join(get_args(BagPooling))}, got {bag!r}")
        self.images = dict(images)
        self.bag: BagPooling = bag
        self.routes = {name: name for name in images} if routes is None else dict(routes)
        if set(self.routes) != set(images) or set(self.routes.values()) != set(backbones):
            raise ValueError(
                "each image needs a route to an encoder, and each encoder an image: images "
                f"{sorted(images)}, routes {self.routes}, encoders {sorted(backbones)}"
            )
        self.backbones = nn.ModuleDict(backbones)
        self.fusions = nn.ModuleList()
        self.map_shapes = {name: self._map_shapes(name) for name in self.images}
        self.n_stages = max(map(len, self.map_shapes.values()), default=0)

    @classmethod
    def create(
        cls,
        images: Mapping[str, Image],
        *,
        name: str = "convnet",
        weights: object = "none",
        shared: bool = True,
        n_stages: int = 1,
        bag: BagPooling = "mean",
        **options: object,
    ) -> "ImageEncoders":
        """Build encoders for images.

        Args:
            images: The image modalities.
            name: A registered backbone, or a model of timm's.
            weights: ``"none"``, ``"pretrained"``, ``"bundled"`` or a file.
            shared: Images of one shape take one encoder, as one batch; False gives each image its own.
            n_stages: How many of the encoder's stages are used, counted from the last.
            bag: How several images of a case become one map: ``"mean"`` or ``"max"``.
            options: More options of a registered backbone.
        """
        first: dict[tuple[int, ...], str] = {}
        routes = {key: first.setdefault(image.shape, key) if shared else key for key, image in images.items()}
        backbones = {
            route: create_backbone(name, images[route], weights=weights, n_stages=n_stages, **options)  # type: ignore[arg-type]  # checked there
            for route in dict.fromkeys(routes.values())
        }
        return cls(images, backbones, routes, bag=bag)

    def sites(self, *, d_context: int = 0, mean_square: float = 1.0) -> MapSites:
        """The maps that a map fusion can act on.

        Args:
            d_context: Features of the context.
            mean_square: Of these features, as expected.
        """
        shapes = {name: [self._stem_shape(name), *self.map_shapes[name]] for name in self.images}
        whole = [_label(self.backbones[self.routes[name]]) for name, of_image in shapes.items() if of_image[0] is None]
        if whole:
            # All encoders run stage by stage or none does.
            shapes = {name: [*[None] * (len(of_image) - 1), of_image[-1]] for name, of_image in shapes.items()}
        return MapSites(self.routes, shapes, d_context=d_context, mean_square=mean_square, whole=whole)

    def add_fusion(self, fusion: MapFusion) -> None:
        """Let a block act on the maps, behind those that were added before.

        Raises:
            ValueError: If it was built for other maps than the encoders', or changes the shape of a map.
        """
        check_map_fusion(fusion, self.sites())
        self.fusions.append(fusion)

    def check_context(self, widths: Mapping[str, int]) -> None:
        """Check that the map fusions were built for a context.

        Args:
            widths: Features of each table.

        Raises:
            ValueError: If there is a context and no map fusion, or one was built for another number of features.
        """
        if widths and not len(self.fusions):
            raise ValueError(
                f"context is the input of map fusions, got {list(widths)}, and the encoders have none: add "
                "one by encoders.add_fusion, or leave the context out"
            )
        total = sum(widths.values())
        for fusion in cast("Iterable[MapFusion]", self.fusions):
            if fusion.d_context not in (0, total):
                raise ValueError(
                    f"{type(fusion).__name__} is conditioned on {fusion.d_context} features of tables, the model's "
                    f"context has {total}: give the model the context that it was built for"
                )

    @property
    def inside(self) -> frozenset[int]:
        """The points between stages where a map fusion acts; maps then depend on more than their image."""
        points = frozenset().union(*(fusion.points for fusion in cast("Iterable[MapFusion]", self.fusions)))
        return points - {self.n_stages}

    def forward(
        self,
        images: Mapping[str, Content],
        context: Tokens | None = None,
        rows: Mapping[str, Rows] | None = None,
    ) -> dict[str, tuple[Tensor, ...]]:
        """Encode.

        Args:
            images: By name, pixels ``(r, channels, *size)``, a :class:`~mmfusion.tokens.Bag` without an empty one, or
                :class:`~mmfusion.tokens.Maps`, of the cases that have the image; images that no case has are left out.
            context: Features of the tables for the map fusions, one row per case.
            rows: For the images that some case may lack, which rows they are.

        Returns:
            By image, one map ``(r, c, *spatial)`` per stage.
        """
        rows = rows or {}
        maps = {name: x.stages for name, x in images.items() if isinstance(x, Maps)}
        if not self.inside:
            return self._fused_last(maps | self.encode(images), context, rows)
        unbagged = Unbagged.of(images)
        by_stage = self._by_stage(unbagged, context, rows, first=1)
        return self._fused_last(maps | unbagged.pooled(by_stage, self.bag), context, rows)

    def at_points(
        self,
        images: Mapping[str, Content],
        context: Tokens | None = None,
        rows: Mapping[str, Rows] | None = None,
    ) -> "Points":
        """:meth:`forward` with the map before the first stage, each map being the one that the next stage computes on.

        A map's gradient then comes through all later stages, and not through the tokens made from it alone; except in
        an encoder that cannot be taken apart, whose first map is the image.

        Args:
            images: By name, pixels or bags as in :meth:`forward`.
            context: As there.
            rows: As there.
        """
        unbagged = Unbagged.of(images)
        if self.inside:
            maps = self._by_stage(unbagged, context, rows or {}, first=0)
        else:
            steps = {name: _steps(self.backbones[self.routes[name]], x) for name, x in unbagged.pixels.items()}
            maps = {name: tuple(of_image[-len(self.map_shapes[name]) - 1 :]) for name, of_image in steps.items()}
        stages = unbagged.pooled({name: of_image[1:] for name, of_image in maps.items()}, self.bag)
        stages = self._fused_last(stages, context, rows or {})
        points = {name: x if name in unbagged.layouts else (x[0], *stages[name]) for name, x in maps.items()}
        return Points(points, stages)

    def encode(self, images: Mapping[str, Content]) -> dict[str, tuple[Tensor, ...]]:
        """The encoders' maps ``(r, c, *spatial)`` of pixels and bags, before any map fusion."""
        maps: dict[str, tuple[Tensor, ...]] = {}
        unbagged = Unbagged.of(images)
        for lane in lanes(unbagged.pixels, self.routes):
            stages = [lane.split(x) for x in self._run(lane.route, self.backbones[lane.route], lane.x)]
            maps |= {name: tuple(stage[name] for stage in stages) for name in lane.names}
        return unbagged.pooled(maps, self.bag)

    def encode_present(self, images: Mapping[str, Content], rows: Mapping[str, Rows]) -> dict[str, Maps]:
        """:meth:`encode` of the cases that have each image; the maps of the others are zeros.

        Args:
            images: Pixels ``(b, channels, *size)``, bags, or maps, which stay as they are.
            rows: For the images that some case may lack, which rows have it.

        Returns:
            Maps ``(b, c, *spatial)`` by image.
        """
        pixels = {name: x for name, x in images.items() if not isinstance(x, Maps)}
        some = {name: rows[name].take_content(x) if name in rows else x for name, x in pixels.items()}
        encoded = self.encode({name: x for name, x in some.items() if _n_rows(x)})
        maps = {name: x for name, x in images.items() if isinstance(x, Maps)}
        like = next(self.parameters())
        for name in some:
            of_none = tuple(like.new_zeros(0, *shape, dtype=dtype_of(self)) for shape in self.map_shapes[name])
            stages = encoded.get(name, of_none)
            maps[name] = Maps(tuple(rows[name].put(stage) if name in rows else stage for stage in stages))
        return maps

    def _by_stage(
        self, images: Unbagged, context: Tokens | None, rows: Mapping[str, Rows], *, first: int
    ) -> dict[str, tuple[Tensor, ...]]:
        """Maps from a point on, one row per image."""
        of_batch = lanes(images.pixels, self.routes)
        backbones = {lane.route: cast("Backbone", self.backbones[lane.route]) for lane in of_batch}
        # All encoders stage by stage: a map fusion may link the images.
        xs = [self._run(lane.route, backbones[lane.route].stem, lane.x) for lane in of_batch]
        at_points: list[dict[str, Tensor]] = []
        for s in range(self.n_stages):
            maps = self._fused(s, by_image(of_batch, xs), context, rows, images.layouts)
            at_points.append(maps)
            xs = [joined([maps[name] for name in lane.names]) for lane in of_batch]
            stages = [partial(backbones[lane.route].stage, s) for lane in of_batch]
            xs = [self._run(lane.route, stage, x) for lane, stage, x in zip(of_batch, stages, xs, strict=True)]
        at_points.append(by_image(of_batch, xs))
        return {name: tuple(maps[name] for maps in at_points[first:]) for name in images.pixels}

    def _fused_last(
        self, maps: Mapping[str, tuple[Tensor, ...]], context: Tokens | None, rows: Mapping[str, Rows]
    ) -> dict[str, tuple[Tensor, ...]]:
        last = {name: stages[-1] for name, stages in maps.items()}
        fused = self._fused(self.n_stages, last, context, rows, {})
        return {name: (*stages[:-1], fused[name]) for name, stages in maps.items()}

    def _fused(
        self,
        point: int,
        maps: dict[str, Tensor],
        context: Tokens | None,
        rows: Mapping[str, Rows],
        layouts: Mapping[str, BagLayout],
    ) -> dict[str, Tensor]:
        acting = [fusion for fusion in cast("Iterable[MapFusion]", self.fusions) if point in fusion.points]
        return fused(acting, point, maps, context, rows, layouts, self.bag)

    def _run(self, route: str, part: Callable[[Tensor], Result], x: Tensor) -> Result:
        # In training a single case of the batch may have the image.
        return for_one_case(partial(part, x), self.backbones[route], x)

    def freeze(self, stages: int | Literal["all", "none"]) -> None:
        """Take the first stages of every encoder out of training; see :meth:`~mmfusion.backbones.Backbone.freeze`.

        Args:
            stages: How many, 0 for what lies before the first one; ``"all"``, or ``"none"`` to undo.

        Raises:
            ValueError: If an encoder has fewer stages.
        """
        for backbone in self._in_stages():
            backbone.freeze(stages)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute the encoders' activations again in the backward pass instead of keeping them.

        Raises:
            ValueError: If an encoder cannot do that.
        """
        for backbone in self._in_stages():
            backbone.set_grad_checkpointing(enable)

    def stages_above(self) -> dict[nn.Parameter, int]:
        """How many stages of its encoder lie above each of the encoders' parameters, for layer-wise learning rates."""
        above: dict[nn.Parameter, int] = {}
        for backbone in self._in_stages():
            depths = backbone.parameter_depths()
            above |= {parameter: backbone.n_stages - depths[name] for name, parameter in backbone.named_parameters()}
        return above

    def _in_stages(self) -> list[Backbone]:
        return [backbone for backbone in self.backbones.values() if isinstance(backbone, Backbone)]

    def _map_shapes(self, name: str) -> tuple[tuple[int, ...], ...]:
        image, backbone = self.images[name], self.backbones[self.routes[name]]
        label = _label(backbone)
        if isinstance(backbone, Backbone) and len(image.size) != backbone.n_axes:
            raise ValueError(f"{label} encodes images of {backbone.n_axes} axes, {name!r} is {image.size}")
        try:
            maps: tuple[Tensor, ...] = run_on_meta(backbone, _pixels(image, backbone))
        # Encoders are foreign code: a size that does not fit ends in whatever they raise, an assertion included.
        except (AssertionError, IndexError, RuntimeError, ValueError, ZeroDivisionError) as error:
            raise ValueError(
                f"the encoder {label} cannot take {name!r}, {image.channels} channels of {image.size}: {error}. Choose "
                "another image size or encoder"
            ) from error
        if empty := [i for i, m in enumerate(maps) if 0 in m.shape]:
            raise ValueError(
                f"images of {image.size} are too small for the encoder {label}: nothing is left of {name!r} after "
                f"stage {empty[0]}. Choose larger images or an encoder that shrinks them less"
            )
        return tuple(tuple(m.shape[1:]) for m in maps)

    def _stem_shape(self, name: str) -> tuple[int, ...] | None:
        backbone = self.backbones[self.routes[name]]
        if not isinstance(backbone, Backbone) or type(backbone).stem is Backbone.stem:
            return None
        try:
            stem: Tensor = run_on_meta(backbone, _pixels(self.images[name], backbone), method="stem")
        except ValueError:  # it cannot be taken apart; that it can take such images is known from its maps
            return None
        return tuple(stem.shape[1:])


def encoders_for(images: Mapping[str, Image], choice: object) -> ImageEncoders:
    """Encoders from plain settings: a name, or a mapping with ``name`` and the options of :class:`ImageEncoders`."""
    name, options = named(cast("str", choice), "backbone")
    of_backbone = keyword_options(backbones.get(name)) if name in backbones else {}
    of_slot = {key: value for key, value in options.items() if key not in of_backbone or key == "n_stages"}
    check_options(f"the encoder {name!r}", ImageEncoders.create, of_slot)
    return ImageEncoders.create(images, name=name, **options)


class Points(NamedTuple):
    """Maps along the encoders.

    Attributes:
        points: By image, ``n_stages + 1`` maps ``(r, c, *spatial)`` of the cases that have it. Of a bag one row per
            image, ``(n, c, *spatial)``, in the order of a :class:`~mmfusion.models.bags.BagLayout`, the last without
            the map fusions behind the last stage, which act on pooled maps.
        stages: By image, what :meth:`ImageEncoders.forward` gives.
    """

    points: dict[str, tuple[Tensor, ...]]
    stages: dict[str, tuple[Tensor, ...]]


def _steps(backbone: nn.Module, x: Tensor) -> Sequence[Tensor]:
    return backbone.every_step(x) if isinstance(backbone, Backbone) else (x, *backbone(x))


def _label(backbone: nn.Module) -> str:
    return str(getattr(backbone, "name", type(backbone).__name__))


def _n_rows(content: Content) -> int:
    return len(content.mask) if isinstance(content, Bag) else len(cast("Tensor", content))


def _pixels(image: Image, module: nn.Module) -> Tensor:
    return torch.empty((2, *image.shape), dtype=dtype_of(module), device="meta")
