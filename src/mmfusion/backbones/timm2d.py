"""Any timm model that gives intermediate features, as a backbone for 2D images."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmfusion.backbones.base import Backbone
from mmfusion.backbones.timm_models import UNFIT, create_timm, is_sequence, times


class Timm(Backbone):
    """A timm model's stages.

    Args:
        name: timm's name of the model.
        in_channels: Channels of the image; timm adapts the first convolution.
        size: ``(height, width)`` of the images, for models that are built for one size; None for the size of the
            weights.
        weights: ``"none"``; ``"pretrained"``, timm's own download with its cache; ``"bundled"``, from a package that
            carries them; or a file.
        stages: Which of the model's feature levels, by index, or ``"all"``; None for the last ``n_stages``, or, where
            all levels are of one resolution (plain transformers), for ``n_stages`` spread evenly.
        n_stages: How many, if ``stages`` is None.

    Raises:
        ValueError: If the model is unknown (with the closest names) or gives no features, a stage is not there,
            the size is not one that the model takes, or the weights are of another architecture.
        OSError: If the download fails; the message says what to do without a network.
    """

    can_recompute = True

    def __init__(
        self,
        name: str,
        *,
        in_channels: int = 3,
        size: tuple[int, ...] | None = None,
        weights: str | Path = "none",
        stages: Sequence[int] | Literal["all"] | None = None,
        n_stages: int = 4,
    ) -> None:
        model = create_timm(name, in_channels, size, weights)
        levels = _feature_info(name, model)
        chosen = _choose(name, levels, stages, n_stages)
        config: dict[str, Any] = getattr(model, "pretrained_cfg", None) or {}
        super().__init__(
            channels=tuple(int(levels[i]["num_chs"]) for i in chosen),
            reductions=tuple((int(levels[i]["reduction"]),) * 2 for i in chosen),
            mean=per_channel(config.get("mean", (0.5,) * 3), in_channels),
            std=per_channel(config.get("std", (0.5,) * 3), in_channels),
        )
        self.name = name
        self._made_for = tuple(config.get("input_size", (3, 224, 224))[1:])
        self.size = tuple(size or self._made_for)
        self._fixed = bool(config.get("fixed_input_size"))
        self._patch = _patch(model, levels, in_channels)
        self._check_size(self.size)
        self._levels = chosen
        plain = _one_resolution(levels)
        ends = [level["module"] for level in levels]
        # Between plain levels there is nothing to tell the stem by; else levels before the first chosen belong to it.
        self._before = chosen[0] - 1 if chosen[0] and not plain else None
        # The classifier and what lies behind the last level would be parameters that never get a gradient.
        model.prune_intermediate_layers(list(chosen), prune_norm=True, prune_head=True)
        self.model = model
        self._first_stage = ends[chosen[0]].partition(".")[0]
        self._groups: list[list[str]] | None = None
        if all(ends) and is_sequence(name):  # TResNet has no name for its first level
            _drop_rest(model, ends[chosen[-1]])
            self._groups = _groups(model, ends, chosen, self._before)
        if self._groups is None and not (plain and chosen[-1] == len(levels) - 1):
            self._rest_untrained()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """All maps in one pass.

        Args:
            x: Shape ``(b, channels, height, width)`` in [0, 1].

        Returns:
            One map per stage, shape ``(b, channels[i], height_i, width_i)``, in network order.

        Raises:
            ValueError: If the model cannot take images of this shape; says what it can take.
        """
        x = self.normalise(x)
        self._check_size(tuple(x.shape[2:]))
        if torch.compiler.is_compiling():
            return self._maps(x)
        try:
            maps = self._maps(x)
        except UNFIT as error:
            if self._fits(x):
                raise
            raise self._unfit(f"images of {x.shape[1]} channels and {times(x.shape[2:])} pixels", error) from error
        if any(0 in m.shape for m in maps):
            raise self._unfit(f"images of {times(x.shape[2:])} pixels", "nothing is left of them")
        return maps

    def stem(self, x: Tensor) -> Tensor:
        """The normalization, and what lies before the first stage.

        Raises:
            ValueError: If the model cannot be taken apart.
        """
        parts = self._parts(0)
        x = self.normalise(x)
        self._check_size(tuple(x.shape[2:]))
        return self._run(parts, x, images=True)

    def stage(self, i: int, x: Tensor) -> Tensor:
        """One stage, counted from 0.

        Raises:
            ValueError: If there is no such stage, or the model cannot be taken apart.
        """
        if not 0 <= i < self.n_stages:
            raise ValueError(f"{self.name!r} has the stages 0 to {self.n_stages - 1} here, got {i}")
        return self._run(self._parts(1 + i), x, images=i == 0 and not self._parts(0))

    def steps(self, x: Tensor) -> list[Tensor]:
        """The output of the stem, or the images if the stem is not known, then the map of each stage."""
        if self._groups is not None:
            return super().steps(x)
        x = self.normalise(x)
        levels = self._levels if self._before is None else (self._before, *self._levels)
        maps = self._intermediates(x, levels)
        return maps if self._before is not None else [x, *maps]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only what lies between the blocks for the backward pass and compute the rest again: slower, smaller.

        Values and gradients stay what they are without. So do batch statistics, but for the few models with batch
        normalization that cannot be taken apart: timm's own way, which these take, counts each batch twice.

        Raises:
            ValueError: If neither timm nor this class can do it for this model.
        """
        batch_norm = any(isinstance(part, _BatchNorm) for part in self.model.modules())
        if self._groups is None or not batch_norm:
            try:
                self.model.set_grad_checkpointing(enable)
            except (AssertionError, AttributeError) as error:
                if self._groups is None and enable:
                    raise ValueError(
                        f"{self.name!r} has no gradient checkpointing in timm, and cannot be taken apart: choose "
                        "another encoder, or go without"
                    ) from error
            else:
                if self._groups is None or not hasattr(self.model, "grad_checkpointing"):
                    return
                self.model.set_grad_checkpointing(False)  # by the whole model alone, which a stage by itself is not
        super().set_grad_checkpointing(enable and self._groups is not None)

    def parameter_depths(self) -> dict[str, int]:
        """Where in the network each parameter is: 0 in the stem, ``i + 1`` in stage ``i``.

        In a model that cannot be taken apart the stem is what lies before the level that precedes the first stage,
        or, without one, what the first stage uses outside its own blocks: the patch and position embeddings.
        """
        depths = super().parameter_depths()
        current = f"model.{self._first_stage}"
        if self._groups is None and self._before is None and any(name.startswith(current) for name in depths):
            depths |= {name: 0 for name, depth in depths.items() if depth == 1 and not name.startswith(current)}
        return depths

    def _maps(self, x: Tensor) -> tuple[Tensor, ...]:
        if not self._recompute:
            return tuple(self._intermediates(x, self._levels))
        x = self._run(self._parts(0), x, images=True)
        maps = []
        for i in range(self.n_stages):
            x = self.stage(i, x)
            maps.append(x)
        return tuple(maps)

    def _intermediates(self, x: Tensor, levels: tuple[int, ...]) -> list[Tensor]:
        maps: list[Tensor] = self.model.forward_intermediates(
            x, indices=list(levels), stop_early=True, intermediates_only=True
        )
        return maps

    def _run(self, parts: list[nn.Module], x: Tensor, *, images: bool) -> Tensor:
        if not parts or getattr(self.model, "output_fmt", "NCHW") != "NHWC":
            return self.run(parts, x)
        x = x if images else rearrange(x, "b c h w -> b h w c")
        return rearrange(self.run(parts, x), "b h w c -> b c h w")

    def _parts(self, i: int) -> list[nn.Module]:
        """The modules of the stem, 0, or of a stage, counted from 1."""
        if self._groups is None:
            raise ValueError(
                f"{self.name!r} cannot be taken apart between its stages, so no map fusion can act inside it; those "
                "that timm runs child by child can, such as ResNet, EfficientNet, ConvNeXt and SwinTransformer"
            )
        return [self.model.get_submodule(path) for path in self._groups[i]]

    def _rest_untrained(self) -> None:
        """Parameters that no map uses ask for no gradient: some classes of timm prune less than they could."""
        try:
            used = self._reached()
        except UNFIT as error:
            raise self._unfit(f"images of {times(self.size)} pixels", error) from error
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in used)

    def example_size(self) -> tuple[int, ...]:
        """What it was built for."""
        return self.size

    def _check_size(self, size: tuple[int, ...]) -> None:
        """Raise an error about what timm would cut off in silence, or break on later."""
        if self._fixed and size != self.size:
            raise ValueError(
                f"{self.name!r} was built for images of {times(self.size)}, got {times(size)}: give "
                f"size=({', '.join(map(str, size))})"
            )
        # A few transformers were trained on a size that is cut off, which is then what their weights expect.
        if size != self._made_for and any(n % self._patch for n in size):
            near = tuple(max(1, round(n / self._patch)) * self._patch for n in size)
            raise ValueError(
                f"{self.name!r} reads patches of {self._patch} pixels, and the rest of an image of {times(size)} "
                f"would be cut off: height and width must be multiples of {self._patch}, such as {times(near)}"
            )

    def _fits(self, x: Tensor) -> bool:
        """Whether images of this size would go through: if so, an error has another cause."""
        parameters = {name: torch.empty_like(p, device="meta") for name, p in self.named_parameters()}
        try:
            self._without_numbers((2, *x.shape[1:]), parameters)
        except UNFIT as error:
            return "meta" in str(error)  # what cannot run without numbers cannot tell
        return True

    def _unfit(self, images: str, reason: object) -> ValueError:
        return ValueError(
            f"{self.name!r} cannot take {images} ({reason}). Choose larger ones, multiples of "
            f"{self.reductions[-1][0]} where windows or branches must fit, or the {times(self._made_for)} it was made "
            "for"
        )


def _feature_info(name: str, model: Any) -> list[dict[str, Any]]:
    info = getattr(model, "feature_info", None)
    if not info or not hasattr(model, "forward_intermediates") or not hasattr(model, "prune_intermediate_layers"):
        raise ValueError(f"{name!r} gives no intermediate features: choose another timm model")
    levels = [dict(level) for level in info]
    if not levels[0]["module"]:  # TResNet tells 2 for its first level, which is a quarter of the image's size
        levels[0]["reduction"] = levels[1]["reduction"]
    return levels


def _one_resolution(levels: list[dict[str, Any]]) -> bool:
    return len({level["reduction"] for level in levels}) == 1


def _choose(
    name: str, levels: list[dict[str, Any]], stages: Sequence[int] | Literal["all"] | None, n_stages: int
) -> tuple[int, ...]:
    n_levels = len(levels)
    if stages == "all":
        return tuple(range(n_levels))
    if stages is not None:
        wrong = [i for i in stages if not (isinstance(i, int) and -n_levels <= i < n_levels)]
        if wrong or not stages:
            raise ValueError(f"{name!r} has the stages 0 to {n_levels - 1}, or 'all', got {stages!r}")
        return tuple(sorted({int(i) % n_levels for i in stages}))
    if not 1 <= n_stages <= n_levels:
        raise ValueError(f"{name!r} has {n_levels} stages, got n_stages={n_stages}")
    if _one_resolution(levels):
        return tuple((i + 1) * n_levels // n_stages - 1 for i in range(n_stages))
    return tuple(range(n_levels - n_stages, n_levels))


def _patch(model: nn.Module, levels: list[dict[str, Any]], in_channels: int) -> int:
    """What the height and the width must be multiples of, or the model would leave out the last rows."""
    if _one_resolution(levels):
        return int(levels[0]["reduction"])
    convs = (part for part in model.modules() if isinstance(part, nn.Conv2d) and part.in_channels == in_channels)
    first = next(convs, None)
    if first is None or isinstance(first.padding, str) or max(first.padding) > 0 or first.stride[0] < 3:
        return 1
    return int(first.stride[0])


def per_channel(values: Sequence[float], in_channels: int) -> tuple[float, ...]:
    """As many values as there are channels, repeated in turn: timm repeats the first convolution so."""
    return tuple(itertools.islice(itertools.cycle(values), in_channels))


def _drop_rest(model: Any, last: str) -> None:
    """Replace what only a classifier needs: pruning keeps it in some classes of timm."""
    children = list(model.named_children())
    top = [child for child, _ in children].index(last.partition(".")[0])
    for child, module in children[top + 1 :]:
        # Some classes slice their stages: those that are left out are an empty sequence.
        setattr(model, child, nn.Sequential() if isinstance(module, nn.Sequential) else nn.Identity())


def _groups(model: nn.Module, ends: list[str], chosen: tuple[int, ...], before: int | None) -> list[list[str]]:
    """Paths of the modules of the stem and of each stage, of a model that is a sequence of them.

    What lies before the first stage belongs to the stem: all up to the level before, or up to the first level.
    """
    paths = list(_flat(model, ends[: chosen[-1] + 1]))
    start = paths.index(ends[0]) if before is None else paths.index(ends[before]) + 1
    cuts = [0, start, *(paths.index(ends[i]) + 1 for i in chosen)]
    return [paths[low:high] for low, high in itertools.pairwise(cuts)]


def _flat(model: nn.Module, ends: list[str], prefix: str = "") -> Iterator[str]:
    for child, module in model.named_children():
        path = f"{prefix}{child}"
        if any(end.startswith(f"{path}.") for end in ends):
            yield from _flat(module, ends, f"{path}.")
        else:
            yield path
